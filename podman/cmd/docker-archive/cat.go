package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/internal/files"
)

func newCatCommand(g *globalOptions) *cobra.Command {
	o := &insideFlags{globalOptions: g}
	cmd := &cobra.Command{
		Use:   "cat IMAGE PATH...",
		Short: "Print files in an image",
		Long: `Print files of an image, one after another. Symbolic links are followed inside
the image. Only what is needed is read: an uncompressed layer is not verified.

` + imageUsage + `

On a terminal, non-printing characters are escaped; in a pipe or a file every
byte is as it is.`,
		Example: `  docker-archive cat nginx.tar /etc/os-release
  docker-archive cat nginx.tar:@0 /etc/os-release > os-release`,
		Args: atLeast(2, "an image and paths in it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			img, err := o.open(cmd.Context(), args[0], files.Options{Random: true})
			if err != nil {
				return err
			}
			defer img.close()
			var found []*files.Entry
			for _, path := range args[1:] { // Nothing is printed if one of them is wrong.
				e, err := img.Lookup(cmd.Context(), path)
				if err != nil {
					return fmt.Errorf("%s: %w", img.name, err)
				}
				if !e.IsRegular() {
					return fmt.Errorf("%s: %q is a %s, and has no content", img.name, path, typeNames[e.Type()])
				}
				found = append(found, e)
			}
			if o.json {
				return o.catJSON(cmd.Context(), cmd.OutOrStdout(), img, found)
			}
			out := shown(cmd.OutOrStdout())
			for _, e := range found {
				if err := catTo(cmd.Context(), out, img, e); err != nil {
					return err
				}
			}
			return nil
		},
	}
	o.register(cmd.Flags())
	return cmd
}

// catTo writes the content of a file.
func catTo(ctx context.Context, out io.Writer, img *inside, e *files.Entry) error {
	r, err := img.ReaderAt(ctx, e.File)
	if err == nil {
		_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{io.NewSectionReader(r, 0, e.Size())}, make([]byte, 256<<10))
	}
	if err != nil {
		return fmt.Errorf("%s: /%s: %w", img.name, e.Path, err)
	}
	return nil
}

// maxInJSON is how large a file may be to be printed in JSON, which is made in memory.
const maxInJSON = 64 << 20

func (o *insideFlags) catJSON(ctx context.Context, out io.Writer, img *inside, found []*files.Entry) error {
	list := newJSONList(out)
	for _, e := range found {
		if e.Size() > maxInJSON {
			return fmt.Errorf("%s: /%s has %d bytes, and --json prints at most %d", img.name, e.Path, e.Size(), maxInJSON)
		}
		var b strings.Builder
		encoder := base64.NewEncoder(base64.StdEncoding, &b)
		if err := catTo(ctx, encoder, img, e); err != nil {
			return err
		}
		if err := encoder.Close(); err != nil {
			return err
		}
		j, content := newFileJSON(img, e), b.String()
		j.ContentBytes = &content
		if err := list.add(j); err != nil {
			return err
		}
	}
	return list.end()
}
