package browsing

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

const (
	// maxShown is how many bytes of a file are shown.
	maxShown = 256 << 10
	// maxTiles is the most entries of a directory in a picture.
	maxTiles = 40
)

// filesPage is a directory, or a file, of an image or of one of its layers.
type filesPage struct {
	header
	Path    []crumb // the root first
	Layer   int     // -1 of the image
	Layers  int
	Dir     bool
	Bytes   int64
	Files   int
	Entries int
	Rows    []fileRow
	Sort    string
	SortURL string // of the other order
	Pager   pager
	Wide    picture
	Narrow  picture

	File fileRow
	Raw  string
	Text []string // lines
	Cut  bool     // there is more
	Why  string   // why no text is shown
	Meta []pair
}

type fileRow struct {
	Name, URL string
	Kind      string // d for a directory, as ls has it
	Mode      string
	Owner     string
	Size      int64
	Layer     int
	LayerURL  string
	Time      time.Time
	Target    string // of a link
	TargetURL string
}

// layerOf returns the layer that a request is about, -1 if it is about the image.
func (r *request) layerOf(c *contents) (int, error) {
	s := r.URL.Query().Get("layer")
	if s == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n >= c.tree.Layers() {
		return 0, fmt.Errorf("the image has no layer %s: %w", text(s), errNoPage)
	}
	return n, nil
}

// lookup finds the image and the file of a request.
func (p *Pages) lookup(r *request) (e *entry, c *contents, at *files.Entry, layer int, release func(), err error) {
	if e, err = r.shelf.find(r.PathValue("id")); err != nil {
		return nil, nil, nil, 0, nil, err
	}
	if !e.isImage() {
		return nil, nil, nil, 0, nil, fmt.Errorf("%s is no image with files: %w", e.id, errNoPage)
	}
	if c, release, err = p.contents(r.Context(), e); err != nil {
		return nil, nil, nil, 0, nil, err
	}
	if layer, err = r.layerOf(c); err == nil {
		at, err = c.side(layer).LookupLink(r.Context(), strings.Trim(r.PathValue("path"), "/"))
	}
	if err != nil {
		release()
		return nil, nil, nil, 0, nil, err
	}
	return e, c, at, layer, release, nil
}

// side is the tree of the image or of a layer.
func (c *contents) side(layer int) *files.Tree {
	if layer < 0 {
		return c.tree
	}
	return c.tree.Layer(layer)
}

// files shows a directory or a file.
func (p *Pages) files(r *request) error {
	e, c, at, layer, release, err := p.lookup(r)
	if err != nil {
		return err
	}
	defer release()
	v := filesPage{header: e.header("files"), Layer: layer, Layers: c.tree.Layers(), Dir: at.IsDir()}
	v.Path = append(v.Path, crumb{"/", e.filesURL("", layer)})
	for i, part := range strings.Split(at.Path, "/") {
		if part != "" {
			v.Path = append(v.Path, crumb{text(part), e.filesURL(strings.Join(strings.Split(at.Path, "/")[:i+1], "/"), layer)})
		}
	}
	v.Path[len(v.Path)-1].URL = ""
	if at.IsDir() {
		err = p.directory(r, &v, e, c, at)
	} else {
		err = v.file(r.Context(), e, c, at)
	}
	if err != nil {
		return err
	}
	where := "Files"
	if layer >= 0 {
		where = "Layer " + strconv.Itoa(layer)
	}
	return p.show(r, "files", page{Title: v.Name + " /" + text(at.Path), Trail: e.trail(crumb{where, ""}), Content: v})
}

// directory adds the entries of a directory.
func (p *Pages) directory(r *request, v *filesPage, e *entry, c *contents, at *files.Entry) error {
	sizes, release, err := p.sizesOf(r.Context(), e, c, v.Layer)
	if err != nil {
		return err
	}
	defer release()
	children, err := c.side(v.Layer).Children(r.Context(), at)
	if err != nil {
		return err
	}
	size := func(f *files.Entry) int64 {
		if f.IsDir() {
			return sizes.of(f.Path).bytes
		}
		if f.IsRegular() {
			return f.Size()
		}
		return 0
	}
	of := sizes.of(at.Path)
	v.Bytes, v.Files, v.Entries = of.bytes, of.files, len(children)
	bySize := slices.Clone(children)
	slices.SortStableFunc(bySize, func(a, b *files.Entry) int { return cmp.Compare(size(b), size(a)) })
	v.Wide, v.Narrow = pictures(e, v.Layer, bySize, size)
	v.Sort = "size"
	if r.URL.Query().Get("sort") == "name" {
		v.Sort = "name"
	} else {
		children = bySize
	}
	query := url.Values{"sort": {"name"}}
	if v.Sort == "name" {
		query.Set("sort", "size")
	}
	if v.Layer >= 0 {
		query.Set("layer", strconv.Itoa(v.Layer))
	}
	v.SortURL = r.URL.EscapedPath() + "?" + query.Encode()
	children, v.Pager = paged(r, children)
	for _, child := range children {
		row := newFileRow(e, child, v.Layer)
		row.Size = size(child)
		v.Rows = append(v.Rows, row)
	}
	return nil
}

func newFileRow(e *entry, f *files.Entry, layer int) fileRow {
	uid, gid := f.Owner()
	row := fileRow{
		Name: text(f.Name()), URL: e.filesURL(f.Path, layer), Kind: kindOf(f.Type()), Mode: modeString(f.File),
		Owner: fmt.Sprintf("%d:%d", uid, gid), Size: f.Size(), Layer: f.Layer(), Time: f.ModTime(), Target: text(f.Linkname()),
	}
	if row.Layer >= 0 {
		row.LayerURL = e.filesURL("", row.Layer)
	}
	return row
}

// kindOf is the kind of a file, in a word.
func kindOf(typeflag byte) string {
	switch typeflag {
	case tar.TypeDir:
		return "directory"
	case tar.TypeSymlink:
		return "symbolic link"
	case tar.TypeLink:
		return "hard link"
	case tar.TypeChar, tar.TypeBlock:
		return "device"
	case tar.TypeFifo:
		return "FIFO"
	}
	return "file"
}

// modeString is a mode as ls has it.
func modeString(f *files.File) string {
	b := []byte("-rwxrwxrwx")
	switch f.Type() {
	case tar.TypeDir:
		b[0] = 'd'
	case tar.TypeSymlink:
		b[0] = 'l'
	case tar.TypeChar:
		b[0] = 'c'
	case tar.TypeBlock:
		b[0] = 'b'
	case tar.TypeFifo:
		b[0] = 'p'
	}
	mode := f.Mode()
	for i := range 9 {
		if mode>>(8-i)&1 == 0 {
			b[1+i] = '-'
		}
	}
	for i, special := range []struct {
		at  int
		set string
	}{{3, "sS"}, {6, "sS"}, {9, "tT"}} {
		if mode>>(11-i)&1 == 0 {
			continue
		}
		if b[special.at] == 'x' {
			b[special.at] = special.set[0]
		} else {
			b[special.at] = special.set[1]
		}
	}
	return string(b)
}

// file adds the kind of a file, and its text.
func (v *filesPage) file(ctx context.Context, e *entry, c *contents, at *files.Entry) error {
	v.File = newFileRow(e, at, v.Layer)
	if at.Type() == tar.TypeSymlink {
		to, err := c.side(v.Layer).Lookup(ctx, at.Path)
		switch {
		case err == nil:
			v.File.TargetURL = e.filesURL(to.Path, v.Layer)
			v.Why = "The link leads to /" + text(to.Path) + "."
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			v.Why = "The link leads nowhere in this image."
		}
	}
	xattrs := at.Xattrs()
	for _, name := range sortedKeys(xattrs) {
		v.Meta = append(v.Meta, pair{Name: text(name), Value: text(fmt.Sprintf("%.256s", xattrs[name]))})
	}
	if major, minor := at.Device(); major != 0 || minor != 0 {
		v.Meta = append(v.Meta, pair{Name: "Device", Value: fmt.Sprintf("%d, %d", major, minor)})
	}
	if !at.IsRegular() {
		v.Why = cmp.Or(v.Why, "Only files have content.")
		return nil
	}
	v.Raw = e.rawURL(at.Path, v.Layer)
	content, err := c.side(v.Layer).ReaderAt(ctx, at.File)
	if err != nil {
		return err
	}
	data := make([]byte, min(at.Size(), maxShown))
	n, err := content.ReadAt(data, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	data = data[:n]
	v.Cut = at.Size() > int64(n)
	if v.Cut { // Perhaps in the middle of a character.
		for i := 0; i < utf8.UTFMax-1 && len(data) > 0 && !utf8.Valid(data); i++ {
			data = data[:len(data)-1]
		}
	}
	switch {
	case at.Size() == 0:
		v.Why = "The file is empty."
	case bytes.IndexByte(data, 0) >= 0 || !utf8.Valid(data):
		v.Why = "The file is binary."
	default:
		v.Text = textLines(string(data))
	}
	return nil
}

// textLines are the lines of a file, with everything escaped that does not print.
func textLines(s string) []string {
	lines := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	for i, line := range lines {
		lines[i] = printable.Text(strings.TrimSuffix(line, "\r"))
	}
	return lines
}

// raw sends a file.
func (p *Pages) raw(r *request) error {
	_, c, at, layer, release, err := p.lookup(r)
	if err != nil {
		return err
	}
	defer release()
	if at.Type() == tar.TypeSymlink {
		if at, err = c.side(layer).Lookup(r.Context(), at.Path); err != nil {
			return err
		}
	}
	if !at.IsRegular() {
		return fmt.Errorf("/%s is a %s: %w", text(at.Path), kindOf(at.Type()), fs.ErrNotExist)
	}
	content, err := c.side(layer).ReaderAt(r.Context(), at.File)
	if err != nil {
		return err
	}
	attach(r.w, at.Name())
	http.ServeContent(r.w, r.Request, "", time.Time{}, io.NewSectionReader(content, 0, at.Size()))
	return nil
}
