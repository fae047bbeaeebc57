package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/output"
)

// exportOptions are the flags of export.
type exportOptions struct {
	insideFlags
	output string
	path   string
	force  bool
}

// exportJSON is the result of export.
type exportJSON struct {
	File   string `json:"file"`
	Image  string `json:"image"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func newExportCommand(g *globalOptions) *cobra.Command {
	o := &exportOptions{insideFlags: insideFlags{globalOptions: g}}
	cmd := &cobra.Command{
		Use:   "export [-o FILE] IMAGE",
		Short: "Write an image's root file system as one tar",
		Long: `Write the files of an image as one tar, as 'docker export' and 'crane export'
do. The same image always gives the same bytes, however it is stored. FILE
appears when it is complete and every layer is verified; FILE.tar.gz and
.tar.zst are compressed.

` + imageUsage,
		Example: `  docker-archive export -o rootfs.tar nginx.tar
  docker-archive export nginx.tar | tar tv
  docker-archive export --path /etc -o etc.tar nginx.tar`,
		Args:              betweenArgs(1, 2, "an image, and perhaps the file to write"),
		ValidArgsFunction: completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 && cmd.Flags().Changed("output") {
				return usagef("export writes one file, but is given %q and %q", o.output, args[1])
			}
			if len(args) == 2 { // As crane has it.
				o.output = args[1]
			}
			img, err := o.open(cmd.Context(), args[0], files.Options{})
			if err != nil {
				return err
			}
			defer img.close()
			return o.export(cmd, img)
		},
	}
	f := cmd.Flags()
	o.register(f)
	f.StringVarP(&o.output, "output", "o", "-", "write `FILE`, - for standard output")
	f.BoolVar(&o.force, "force", false, "replace an existing file, once the new one is complete")
	f.StringVar(&o.path, "path", "", "write only what is at or below `PATH`")
	return cmd
}

func (o *exportOptions) export(cmd *cobra.Command, img *inside) error {
	ctx := cmd.Context()
	toStdout := o.output == "-" || o.output == standardOutput
	if toStdout {
		if isTerminal(cmd.OutOrStdout()) {
			return errdef.ErrTerminal
		}
		if f := fileOf(cmd.OutOrStdout()); f != nil {
			if err := output.CheckOpen(f); err != nil {
				return fmt.Errorf("writing to standard output: %w", err)
			}
		}
		_, err := o.exportTo(ctx, &exportedStream{w: cmd.OutOrStdout()}, img)
		return err
	}
	var err error
	path, replace := o.output, func(err error) error { return err }
	if o.force {
		if path, replace, err = output.ReplaceByPath(ctx, path); err != nil {
			return err
		}
	}
	result, err := o.exportToFile(ctx, path, img)
	if err := replace(err); err != nil {
		return err
	}
	if o.json {
		result.File = o.output
		return printJSON(cmd.OutOrStdout(), result)
	}
	return nil
}

// exportToFile writes the tar to a file, which appears when it is complete.
func (o *exportOptions) exportToFile(ctx context.Context, path string, img *inside) (*exportJSON, error) {
	out, err := output.Create(ctx, path)
	if err != nil {
		return nil, err
	}
	algorithm, err := output.Compression(path, "")
	if err == nil && algorithm != compression.None {
		out, err = out.With(output.Options{Compress: algorithm})
	}
	if err != nil {
		return nil, errors.Join(err, out.Abort())
	}
	var w exported = &exportedStream{w: out.Writer()}
	if out.Writer() == nil {
		w = &exportedFile{file: out.File()}
	}
	result, err := o.exportTo(ctx, w, img)
	if err != nil {
		return nil, errors.Join(err, out.Abort())
	}
	return result, out.Commit(ctx)
}

// exportTo writes the tar, and returns its description.
func (o *exportOptions) exportTo(ctx context.Context, w exported, img *inside) (*exportJSON, error) {
	if o.json {
		w.tar().hash = sha256.New().(hash.Cloner)
	}
	if err := img.Export(ctx, w, o.path); err != nil {
		return nil, fmt.Errorf("exporting %s: %w", img.name, err)
	}
	result := &exportJSON{Image: img.name, Size: w.tar().size}
	if o.json {
		result.SHA256 = hex.EncodeToString(w.tar().hash.Sum(nil))
	}
	return result, nil
}

// exported is the destination of the tar.
type exported interface {
	io.Writer
	tar() *tarSum
}

// tarSum is the size and the hash of the tar, before compression.
type tarSum struct {
	size int64
	hash hash.Cloner // nil unless it is wanted
}

func (s *tarSum) tar() *tarSum { return s }

func (s *tarSum) add(p []byte) {
	s.size += int64(len(p))
	if s.hash != nil {
		s.hash.Write(p) // Never fails.
	}
}

// exportedStream is a tar that is written to a stream.
type exportedStream struct {
	tarSum
	w io.Writer
}

// Write implements io.Writer.
func (s *exportedStream) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.add(p[:n])
	return n, err
}

// exportedFile is a tar in a file. It is a files.Rewinder: its end can be taken back.
type exportedFile struct {
	tarSum
	file *local.File
}

// Write implements io.Writer.
func (f *exportedFile) Write(p []byte) (int, error) {
	n, err := f.file.WriteAt(p, f.size)
	f.add(p[:n])
	return n, err
}

// Mark implements files.Rewinder.
func (f *exportedFile) Mark() (rewind func() error, err error) {
	mark := f.tarSum
	if mark.hash != nil {
		if mark.hash, err = mark.hash.Clone(); err != nil {
			return nil, err
		}
	}
	return func() error {
		f.tarSum = mark
		return f.file.Truncate(mark.size)
	}, nil
}
