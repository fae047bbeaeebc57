package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/imagediff"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// diffError is an error of diff. Its status 1 means something else.
type diffError struct{ error }

// Unwrap returns the error.
func (e diffError) Unwrap() error { return e.error }

// diffOptions are the flags of diff.
type diffOptions struct {
	insideFlags
	times bool
	stat  bool
	quiet bool
	both  files.Shared // shared by both images
}

// diffJSON is the result of diff.
type diffJSON struct {
	A      string               `json:"a"`
	B      string               `json:"b"`
	Same   bool                 `json:"same"`
	Config []imagediff.Field    `json:"config"`
	Layers *imagediff.LayerSets `json:"layers,omitempty"`
	Stat   imagediff.Stat       `json:"stat"`
	Files  []fileDiffJSON       `json:"files"`
}

// fileDiffJSON is a file that differs.
type fileDiffJSON struct {
	Path      string    `json:"path"`
	PathBytes string    `json:"pathBase64,omitempty"`
	Change    string    `json:"change"`
	Of        []string  `json:"of,omitempty"`
	A         *fileJSON `json:"a,omitempty"`
	B         *fileJSON `json:"b,omitempty"`
}

func newDiffCommand(g *globalOptions) *cobra.Command {
	o := &diffOptions{insideFlags: insideFlags{globalOptions: g}}
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two images, or an image and a directory",
		Long: `Compare two images: config, layers and files. A and B are archives, images in
archives (app.tar:@0 app.tar:@1), any other images, or a directory of files.
The line of a changed file says how it changed: type, content, mode, owner,
xattr, target, device. Times are ignored unless --times is given.

The exit status is 0 if both are the same, 1 if they differ and 2 after an
error.`,
		Example: `  docker-archive diff nginx.tar nginx-2.tar
  docker-archive diff --stat nginx.tar nginx-2.tar`,
		Args: exactArgs(2, "two images, or an image and a directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := o.diff(cmd, args[0], args[1])
			if err != nil && !errors.Is(err, errReported) && cmd.Context().Err() == nil {
				return diffError{err}
			}
			return err
		},
	}
	f := cmd.Flags()
	o.register(f)
	f.BoolVar(&o.times, "times", false, "compare times of files and config too")
	f.BoolVar(&o.stat, "stat", false, "print only how much differs")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print nothing; the exit status tells")
	return cmd
}

// side is one side of a comparison.
type side struct {
	files.Side
	img   *inside // nil for a directory
	close func()
}

// openSide opens an image or a directory.
func (o *diffOptions) openSide(ctx context.Context, arg string) (*side, error) {
	info, err := os.Stat(arg)
	if err == nil && info.IsDir() && !isLayout(arg) {
		d, err := files.OpenDirectory(arg)
		if err != nil {
			return nil, err
		}
		return &side{Side: d, close: func() { _ = d.Close() }}, nil
	}
	img, err := o.open(ctx, arg, files.Options{Shared: &o.both})
	if err != nil {
		return nil, err
	}
	return &side{Side: img.Tree, img: img, close: img.close}, nil
}

// isLayout reports whether a directory is an image, or an archive in parts, and not files.
func isLayout(dir string) bool {
	for _, name := range []string{"oci-layout", "index.json", "*.part*"} {
		if found, _ := filepath.Glob(filepath.Join(dir, name)); len(found) > 0 {
			return true
		}
	}
	return false
}

func (o *diffOptions) diff(cmd *cobra.Command, nameA, nameB string) error {
	ctx := cmd.Context()
	a, err := o.openSide(ctx, nameA)
	if err != nil {
		return err
	}
	defer a.close()
	b, err := o.openSide(ctx, nameB)
	if err != nil {
		return err
	}
	defer b.close()
	changes, err := files.Compare(ctx, a, b, files.CompareOptions{Times: o.times})
	if err != nil {
		return fmt.Errorf("comparing %s and %s: %w", nameA, nameB, err)
	}
	result := diffJSON{A: nameA, B: nameB, Config: []imagediff.Field{}, Stat: imagediff.Count(changes), Files: []fileDiffJSON{}}
	if a.img != nil && b.img != nil {
		result.Config = imagediff.Configs(&a.img.config, &b.img.config, o.times)
		result.Layers = imagediff.Layers(a.img.config.RootFS.DiffIDs, b.img.config.RootFS.DiffIDs, o.times)
	}
	result.Same = len(changes) == 0 && len(result.Config) == 0 && (result.Layers == nil || !result.Layers.Differ)
	switch {
	case o.quiet:
	case o.json:
		err = o.printDiffJSON(cmd.OutOrStdout(), &result, a, b, changes)
	default:
		err = o.printDiff(cmd.OutOrStdout(), &result, changes)
	}
	if err == nil && !result.Same {
		return errReported
	}
	return err
}

// printDiff prints the differences, for people.
func (o *diffOptions) printDiff(out io.Writer, r *diffJSON, changes []files.Change) error {
	w := bufio.NewWriter(out)
	for _, c := range r.Config {
		fmt.Fprintf(w, "config %s: %s → %s\n", printable.String(c.Field), inLine(c.A), inLine(c.B))
	}
	if l := r.Layers; l != nil && len(l.OnlyA)+len(l.OnlyB) > 0 {
		note := ""
		if !l.Differ && len(changes) == 0 {
			note = ": times or order only"
		}
		fmt.Fprintf(w, "layers: %d in both, %d only in A, %d only in B%s\n", l.Common, len(l.OnlyA), len(l.OnlyB), note)
	}
	if !o.stat {
		for _, c := range changes {
			fmt.Fprintln(w, changeLine(&c))
		}
	}
	if s := r.Stat; o.stat {
		fmt.Fprintf(w, "files: %d added (%d bytes), %d removed (%d bytes), %d changed (%d bytes)\n", s.Added, s.AddedBytes, s.Removed, s.RemovedBytes, s.Changed, s.ChangedBytes)
	}
	return w.Flush()
}

// changeLine says how a file has changed, with the letters of docker diff.
func changeLine(c *files.Change) string {
	path := printable.String("/" + c.Path())
	switch {
	case c.Old == nil:
		return "A " + path
	case c.New == nil:
		return "D " + path
	}
	return "C " + path + " (" + strings.Join(c.Of, ", ") + ")"
}

// inLine returns a value of the config in one line, not too long.
func inLine(v any) string {
	const enough = 200
	if v == nil {
		return "none"
	}
	data, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	s := []rune(printable.String(string(printable.JSON(data))))
	if len(s) > enough {
		s = append(s[:enough-1], '…')
	}
	return string(s)
}

func (o *diffOptions) printDiffJSON(out io.Writer, r *diffJSON, a, b *side, changes []files.Change) error {
	if o.stat {
		return printJSON(out, r)
	}
	describe := func(s *side, e *files.Entry) *fileJSON {
		if e == nil {
			return nil
		}
		img := s.img
		if img == nil {
			img = &inside{}
		}
		j := newFileJSON(img, e)
		return &j
	}
	for _, c := range changes {
		j := fileDiffJSON{Change: "changed", Of: c.Of, A: describe(a, c.Old), B: describe(b, c.New)}
		j.Path, j.PathBytes = asText("/" + c.Path())
		switch {
		case c.Old == nil:
			j.Change = "added"
		case c.New == nil:
			j.Change = "removed"
		}
		r.Files = append(r.Files, j)
	}
	return printJSON(out, r)
}
