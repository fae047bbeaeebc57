package packing

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/patternmatcher"
	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// Diff adds the difference between Writer.Lower and a directory: entries for files that are
// new or differ in header or content, and whiteouts for those that are gone. Directories on
// the way to a difference have an entry too; those that differ in nothing but their time do
// not count. It compares files below Options.Prefix; those that Options.Exclude leaves out
// are neither added nor removed.
//
// The layers of Lower are read twice: for the list of files, and for their contents. A file
// with hard links is packed as a link only to a path that is in the difference too.
func (w *Writer) Diff(path string, options Options) error {
	below := &layertar.Tree{}
	if w.Lower != nil {
		var err error
		if below, err = listed(w.ctx, w.Lower); err != nil {
			return fmt.Errorf("reading the layers below: %w", err)
		}
	}
	d, err := openDisk(path)
	if err != nil {
		return err
	}
	return w.pack(d, options, &comparison{tree: below})
}

// listed returns the files of a tree that have an entry in a layer, with the digests of
// regular ones.
func listed(ctx context.Context, tree *files.Tree) (*layertar.Tree, error) {
	root, err := tree.Root(ctx)
	if err != nil {
		return nil, err
	}
	l := lister{&layertar.Tree{}}
	return l.tree, tree.Visit(ctx, root, l)
}

type lister struct{ tree *layertar.Tree }

// Empty implements files.Visitor.
func (l lister) Empty(e *files.Entry) error {
	entry := layertar.Entry{Header: e.Header(e.Path)}
	if e.IsRegular() {
		entry.Digest = digest.FromBytes(nil)
	}
	if e.Layer() >= 0 {
		l.tree.Add(entry)
	}
	return nil
}

// Regular implements files.Visitor.
func (l lister) Regular(path string, f *files.File, content io.Reader) error {
	d, err := digest.FromReader(content)
	l.tree.Add(layertar.Entry{Header: f.Header(path), Digest: d})
	return err
}

// Link implements files.Visitor.
func (l lister) Link(first string, e *files.Entry) error {
	entry, _ := l.tree.Get(first)
	l.tree.Add(layertar.Entry{Header: e.Header(e.Path), Digest: entry.Digest})
	return nil
}

// DirDiff adds the difference between two directories, as Diff does. The contents of files
// with the same headers are compared.
func (w *Writer) DirDiff(old, path string, options Options) error {
	from, err := openDisk(old)
	if err != nil {
		return err
	}
	files, err := os.OpenRoot(old)
	if err != nil {
		from.close()
		return err
	}
	defer files.Close() //nolint:errcheck // It was only read.
	scanned := options
	scanned.Skipped = nil
	tree := &layertar.Tree{}
	if err := w.walk(from, &packer{writer: w, options: scanned, scanned: tree}); err != nil {
		return err
	}
	d, err := openDisk(path)
	if err != nil {
		return err
	}
	return w.pack(d, options, &comparison{tree, files})
}

// comparison is the base of a difference.
type comparison struct {
	tree  *layertar.Tree
	files *os.Root // with the contents, nil if they are not there
}

// has reports whether a file was there before with the same header.
func (c *comparison) has(h *tar.Header) bool {
	e, ok := c.tree.Get(h.Name)
	if !ok {
		return false
	}
	old := e.Header
	return h.Typeflag == old.Typeflag && h.Mode == old.Mode && h.Uid == old.Uid && h.Gid == old.Gid &&
		h.Size == old.Size && h.Linkname == old.Linkname && h.Devmajor == old.Devmajor && h.Devminor == old.Devminor &&
		(h.Typeflag == tar.TypeDir || h.ModTime.Unix() == old.ModTime.Unix()) && maps.Equal(xattrsOf(h), xattrsOf(old))
}

// xattrsOf returns the extended attributes of a header.
func xattrsOf(h *tar.Header) map[string]string {
	found := map[string]string{}
	for key, value := range h.PAXRecords {
		if strings.HasPrefix(key, layertar.XattrPrefix) {
			found[key] = value
		}
	}
	return found
}

// hasContent reports whether a regular file whose header is the same as before has
// the same content too. Its path in the directory that is packed is path.
func (c *comparison) hasContent(h *tar.Header, path string, open func() (fs.File, error), timesKept bool) (bool, error) {
	e, _ := c.tree.Get(h.Name)
	switch {
	case h.Size == 0:
		return true, nil
	case e.Digest == "" && c.files == nil:
		return timesKept, nil
	}
	f, err := open()
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // It was only read.
	if e.Digest != "" {
		if err := e.Digest.Validate(); err != nil {
			return false, fmt.Errorf("base of %q: %w", h.Name, err)
		}
		got, err := e.Digest.Algorithm().FromReader(f)
		return got == e.Digest, err
	}
	old, err := c.files.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return false, err
	}
	defer old.Close() //nolint:errcheck // It was only read.
	return sameContent(old, f)
}

// sameContent compares two streams.
func sameContent(a, b io.Reader) (bool, error) {
	const piece = 64 << 10
	left, right := make([]byte, piece), make([]byte, piece)
	for {
		n, err := io.ReadFull(a, left)
		m, err2 := io.ReadFull(b, right)
		if !bytes.Equal(left[:n], right[:m]) {
			return false, nil
		}
		for _, err := range []error{err, err2} {
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return false, err
			}
		}
		if err != nil || err2 != nil {
			return true, nil
		}
	}
}

// packRemoved packs whiteouts for files that were in a directory and are not among the
// names.
func (p *packer) packRemoved(names []string, dir string, above patternmatcher.MatchInfo) error {
	at := p.name(dir)
	for _, old := range p.base.tree.Children(at) {
		if _, there := slices.BinarySearch(names, old); there {
			continue
		}
		excluded, _, err := p.excluded(layertar.Join(dir, old), above)
		if err != nil {
			return err
		}
		if excluded {
			continue
		}
		if err := p.remove(layertar.Join(at, old)); err != nil {
			return err
		}
	}
	return nil
}

// markerTime is the time of markers, which are never unpacked, so that it is always the same.
var markerTime = time.Unix(0, 0)

// newMarker returns the header of an empty file that takes something away.
func newMarker(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, ModTime: markerTime}
}
