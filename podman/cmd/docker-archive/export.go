package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
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
	from, err := img.LookupAll(ctx, o.path)
	if err != nil {
		return fmt.Errorf("%s: %w", img.name, err)
	}
	toStdout := o.output == "-" || o.output == standardOutput
	if toStdout {
		if isTerminal(cmd.OutOrStdout()) {
			return errdef.ErrTerminal
		}
		if _, err := o.exportTo(ctx, cmd.OutOrStdout(), img, from); err != nil {
			return err
		}
		return nil
	}
	path, replace := o.output, func(err error) error { return err }
	if o.force {
		if path, replace, err = output.ReplaceByPath(ctx, path); err != nil {
			return err
		}
	}
	result, err := o.exportToFile(ctx, path, img, from)
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
func (o *exportOptions) exportToFile(ctx context.Context, path string, img *inside, from *files.Entry) (*exportJSON, error) {
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
	w := out.Writer()
	if w == nil {
		w = &fileWriter{file: out.File()}
	}
	result, err := o.exportTo(ctx, w, img, from)
	if err != nil {
		return nil, errors.Join(err, out.Abort())
	}
	return result, out.Commit(ctx)
}

// fileWriter writes a file from its start to its end.
type fileWriter struct {
	file *local.File
	at   int64
}

// Write implements io.Writer.
func (w *fileWriter) Write(p []byte) (int, error) {
	n, err := w.file.WriteAt(p, w.at)
	w.at += int64(n)
	return n, err
}

// exportTo writes the tar. On request, it computes the digest of the tar before
// compression.
func (o *exportOptions) exportTo(ctx context.Context, w io.Writer, img *inside, from *files.Entry) (*exportJSON, error) {
	counted := &counting{w: w}
	var sink io.Writer = counted
	hash := sha256.New()
	if o.json {
		sink = io.MultiWriter(counted, hash)
	}
	buffered := bufio.NewWriterSize(sink, 256<<10)
	err := img.Export(ctx, buffered, from, layertar.Rewriting{})
	if err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		return nil, fmt.Errorf("exporting %s: %w", img.name, err)
	}
	return &exportJSON{Image: img.name, Size: counted.n, SHA256: hex.EncodeToString(hash.Sum(nil))}, nil
}

// counting counts written bytes.
type counting struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
