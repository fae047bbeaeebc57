package main

import (
	"archive/tar"
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// filesOptions are the flags of files.
type filesOptions struct {
	insideFlags
	long   bool
	layers bool
	depth  int
	sort   string
	layer  string
}

func newFilesCommand(g *globalOptions) *cobra.Command {
	o := &filesOptions{insideFlags: insideFlags{globalOptions: g}}
	cmd := &cobra.Command{
		Use:   "files IMAGE [PATH]",
		Short: "List the files in an image",
		Long: `List the files of an image as a container sees them, or those below PATH.
Nothing is unpacked. Directories end with a slash.

` + imageUsage + `

--layer lists the entries of one layer. A whiteout (.wh.NAME) removes NAME of
the layers below.`,
		Example: `  docker-archive files -l nginx.tar /etc
  docker-archive files --sort size -l nginx.tar
  docker-archive files --layer 0 nginx.tar`,
		Args: betweenArgs(1, 2, "an image, and perhaps a path in it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.sort != "name" && o.sort != "size" {
				return usagef("--sort is name or size, not %q", o.sort)
			}
			if o.depth < 0 {
				return usagef("--depth %d is negative", o.depth)
			}
			img, err := o.open(cmd.Context(), args[0], files.Options{Entries: o.layer != ""})
			if err != nil {
				return err
			}
			defer img.close()
			path := ""
			if len(args) == 2 {
				path = args[1]
			}
			return o.list(cmd.Context(), cmd.OutOrStdout(), img, path)
		},
	}
	f := cmd.Flags()
	o.register(f)
	f.BoolVarP(&o.long, "long", "l", false, "print mode, owner, size and time too, as ls -l")
	f.BoolVar(&o.layers, "layers", false, "print the layer that each file is from, 0 for the lowest")
	f.IntVar(&o.depth, "depth", 0, "list `N` levels below PATH (default all)")
	f.StringVar(&o.sort, "sort", "name", "sort by name, or by size, largest first")
	f.StringVar(&o.layer, "layer", "", "list the entries of layer `N|DIGEST`, whiteouts included")
	return cmd
}

// list prints the requested files.
func (o *filesOptions) list(ctx context.Context, out io.Writer, img *inside, path string) error {
	w := bufio.NewWriterSize(out, 64<<10)
	var print func(*files.Entry) error
	end := func() error { return nil }
	if o.json {
		list := newJSONList(w)
		print, end = func(e *files.Entry) error { return list.add(newFileJSON(img, e)) }, list.end
	} else {
		print = func(e *files.Entry) error {
			_, err := io.WriteString(w, o.line(e)+"\n")
			return err
		}
	}
	if o.sort == "size" {
		var all []*files.Entry
		if err := o.each(ctx, img, path, func(e *files.Entry) error {
			all = append(all, e)
			return nil
		}); err != nil {
			return err
		}
		slices.SortStableFunc(all, func(a, b *files.Entry) int { return cmp.Compare(b.Size(), a.Size()) })
		for _, e := range all {
			if err := print(e); err != nil {
				return err
			}
		}
	} else if err := o.each(ctx, img, path, print); err != nil {
		return err
	}
	if err := end(); err != nil {
		return err
	}
	return w.Flush()
}

// each calls a function for each file that is asked for.
func (o *filesOptions) each(ctx context.Context, img *inside, path string, f func(*files.Entry) error) error {
	if o.layer != "" {
		return o.eachOfLayer(ctx, img, path, f)
	}
	from, err := img.Lookup(ctx, path)
	if err != nil {
		return fmt.Errorf("%s: %w", img.name, err)
	}
	if from.IsDir() { // Its own layers may not be all.
		if from, err = img.LookupAll(ctx, from.Path); err != nil {
			return fmt.Errorf("%s: %w", img.name, err)
		}
	}
	for e, err := range img.Walk(ctx, from) {
		if err != nil {
			return fmt.Errorf("%s: %w", img.name, err)
		}
		if e == from && e.IsDir() || !o.isWithin(from.Path, e.Path) {
			continue
		}
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

// isWithin reports whether a path is within --depth levels of another one.
func (o *filesOptions) isWithin(from, path string) bool {
	if o.depth == 0 {
		return true
	}
	below := strings.TrimPrefix(strings.TrimPrefix(path, from), "/")
	return strings.Count(below, "/") < o.depth
}

// eachOfLayer calls a function for each entry of a layer.
func (o *filesOptions) eachOfLayer(ctx context.Context, img *inside, path string, f func(*files.Entry) error) error {
	n, err := img.layerIndex(o.layer)
	if err != nil {
		return err
	}
	entries, err := img.Raw(ctx, n)
	if err != nil {
		return fmt.Errorf("%s: %w", img.name, err)
	}
	under := strings.Trim(path, "/")
	for _, e := range entries {
		if under != "" && e.Path != under && !strings.HasPrefix(e.Path, under+"/") || !o.isWithin(under, e.Path) {
			continue
		}
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

// line returns the line of a file.
func (o *filesOptions) line(e *files.Entry) string {
	var b strings.Builder
	if o.layers {
		fmt.Fprintf(&b, "%3d ", e.Layer())
	}
	if o.long {
		uid, gid := e.Owner()
		fmt.Fprintf(&b, "%s %5d %5d %10s %s ", modeString(e.File), uid, gid, sizeString(e.File), e.ModTime().Format("2006-01-02 15:04"))
	}
	b.WriteString(printable.String("/" + e.Path))
	switch e.Type() {
	case tar.TypeDir:
		if e.Path != "" {
			b.WriteByte('/')
		}
	case tar.TypeSymlink:
		if o.long {
			b.WriteString(" -> " + printable.String(e.Linkname()))
		}
	case tar.TypeLink:
		if o.long {
			b.WriteString(" link to " + printable.String(e.Linkname()))
		}
	}
	return b.String()
}

// modeString is the mode as ls -l prints it.
func modeString(f *files.File) string {
	kinds := map[byte]byte{tar.TypeDir: 'd', tar.TypeSymlink: 'l', tar.TypeChar: 'c', tar.TypeBlock: 'b', tar.TypeFifo: 'p', tar.TypeLink: 'h'}
	s := []byte("-rwxrwxrwx")
	if kind, ok := kinds[f.Type()]; ok {
		s[0] = kind
	}
	for i := range 9 {
		if f.Mode()>>(8-i)&1 == 0 {
			s[1+i] = '-'
		}
	}
	for _, special := range []struct {
		bit        int64
		at         int
		with, sans byte
	}{{0o4000, 3, 's', 'S'}, {0o2000, 6, 's', 'S'}, {0o1000, 9, 't', 'T'}} {
		if f.Mode()&special.bit == 0 {
			continue
		}
		if s[special.at] == 'x' {
			s[special.at] = special.with
		} else {
			s[special.at] = special.sans
		}
	}
	return string(s)
}

// sizeString is the size, or of a device its numbers.
func sizeString(f *files.File) string {
	if f.Type() == tar.TypeChar || f.Type() == tar.TypeBlock {
		major, minor := f.Device()
		return fmt.Sprintf("%d, %d", major, minor)
	}
	return strconv.FormatInt(f.Size(), 10)
}

// fileJSON is a file as --json prints it.
type fileJSON struct {
	Path         string            `json:"path"`
	PathBytes    string            `json:"pathBase64,omitempty"`
	Type         string            `json:"type"`
	Mode         string            `json:"mode"`
	UID          int               `json:"uid"`
	GID          int               `json:"gid"`
	Size         int64             `json:"size"`
	Time         time.Time         `json:"time"`
	Target       string            `json:"target,omitempty"`
	TargetBytes  string            `json:"targetBase64,omitempty"`
	Device       []int64           `json:"device,omitempty"`
	Xattrs       map[string]string `json:"xattrs,omitempty"` // in base64
	Layer        int               `json:"layer"`
	LayerDigest  digest.Digest     `json:"layerDigest,omitempty"`
	ContentBytes *string           `json:"contentBase64,omitempty"`
}

// typeNames are the types of files as --json has them.
var typeNames = map[byte]string{
	tar.TypeReg: "file", tar.TypeDir: "directory", tar.TypeSymlink: "symlink", tar.TypeLink: "hardlink",
	tar.TypeChar: "char", tar.TypeBlock: "block", tar.TypeFifo: "fifo",
}

func newFileJSON(img *inside, e *files.Entry) fileJSON {
	j := fileJSON{Type: typeNames[e.Type()], Mode: fmt.Sprintf("%04o", e.Mode()), Size: e.Size(), Time: jsonTime(e.ModTime()), Layer: e.Layer()}
	j.Path, j.PathBytes = asText("/" + e.Path)
	j.Target, j.TargetBytes = asText(e.Linkname())
	j.UID, j.GID = e.Owner()
	if e.Type() == tar.TypeChar || e.Type() == tar.TypeBlock {
		major, minor := e.Device()
		j.Device = []int64{major, minor}
	}
	for name, value := range e.Xattrs() {
		if j.Xattrs == nil {
			j.Xattrs = map[string]string{}
		}
		j.Xattrs[name] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	if l := e.Layer(); l >= 0 && l < len(img.layers) {
		j.LayerDigest = img.layers[l].Digest
	}
	return j
}

// jsonTime returns a time that JSON can say.
func jsonTime(t time.Time) time.Time {
	if y := t.Year(); y < 0 || y > 9999 {
		return time.Unix(0, 0).UTC()
	}
	return t
}

// asText returns bytes as text and, if they are no UTF-8, in base64 too.
func asText(s string) (text, bytes string) {
	if utf8.ValidString(s) {
		return s, ""
	}
	return strings.ToValidUTF8(s, "\ufffd"), base64.StdEncoding.EncodeToString([]byte(s))
}

// jsonList prints a list in JSON, one element after another.
type jsonList struct {
	w     io.Writer
	count int
}

func newJSONList(w io.Writer) *jsonList { return &jsonList{w: w} }

// add prints an element.
func (l *jsonList) add(v any) error {
	data, err := json.MarshalIndent(v, "    ", "    ")
	if err != nil {
		return err
	}
	before := ",\n    "
	if l.count == 0 {
		before = "[\n    "
	}
	l.count++
	_, err = io.WriteString(l.w, before+string(printable.JSON(data)))
	return err
}

// end prints the end of the list.
func (l *jsonList) end() error {
	after := "\n]\n"
	if l.count == 0 {
		after = "[]\n"
	}
	_, err := io.WriteString(l.w, after)
	return err
}
