package files

import (
	"archive/tar"
	"context"
	"io"

	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// Export writes an entry and all that is below it as one tar, with paths from the root of
// the image. Its bytes depend on nothing but the tree: first directories and all else that
// has no content, in the order of Walk; then files with content, those of each layer in its
// order, in which they can be read at once; then hard links. The first path of a file is
// the file. A directory that no entry speaks of has one here: some engines would make it 0600.
// Each layer is verified by then, or it is an error at the end.
func (t *Tree) Export(ctx context.Context, w io.Writer, from *Entry, rewriting layertar.Rewriting) error {
	x := exporter{layertar.NewWriter(ctx, w), &rewriting}
	if err := t.Visit(ctx, from, x); err != nil {
		return err
	}
	return x.out.Close()
}

// exporter writes what it is told of as a tar.
type exporter struct {
	out       *layertar.Writer
	rewriting *layertar.Rewriting
}

func (x exporter) write(h *tar.Header, content io.Reader) error {
	if err := x.rewriting.Apply(h); err != nil {
		return err
	}
	return x.out.Write(h, content)
}

// Empty implements Visitor.
func (x exporter) Empty(e *Entry) error { return x.write(e.Header(tarName(e)), nil) }

// Regular implements Visitor.
func (x exporter) Regular(path string, f *File, content io.Reader) error {
	return x.write(f.Header(path), content)
}

// Link implements Visitor.
func (x exporter) Link(first string, e *Entry) error {
	h := e.Header(e.Path)
	if err := x.rewriting.Apply(h); err != nil {
		return err
	}
	h.Typeflag, h.Size, h.Linkname, h.PAXRecords = tar.TypeLink, 0, first, nil
	return x.out.Write(h, nil)
}

// tarName is the name of an entry in a tar.
func tarName(e *Entry) string {
	switch {
	case e.Path == "":
		return "./"
	case e.IsDir():
		return e.Path + "/"
	}
	return e.Path
}

// plan is what of a tree is written after all that has no content.
type plan struct {
	files []*File          // with content, as Sort sorts them
	first map[*File]string // paths; of files with content and of those with several links
	links []*Entry         // other paths of files
}

// plan calls a function for each file without content, and plans the others. A root
// without an entry is left out.
func (t *Tree) plan(ctx context.Context, from *Entry, empty func(*Entry) error) (*plan, error) {
	p := &plan{first: map[*File]string{}}
	for e, err := range t.Walk(ctx, from) {
		if err != nil {
			return nil, err
		}
		if e.IsDir() {
			if e.Path == "" && e.File == implicit {
				continue
			}
			if err := empty(e); err != nil {
				return nil, err
			}
			continue
		}
		if _, ok := p.first[e.File]; ok {
			p.links = append(p.links, e)
			continue
		}
		p.first[e.File] = e.Path
		if e.IsRegular() && e.size > 0 {
			p.files = append(p.files, e.File)
			continue
		}
		if err := empty(e); err != nil {
			return nil, err
		}
	}
	Sort(p.files)
	return p, nil
}

// Visitor gets an entry and all that is below it, in an order in which contents can be read at
// once.
type Visitor interface {
	// Empty is told of directories before what is in them, and of all else that has no
	// content.
	Empty(e *Entry) error
	// Regular gets a file with content, under the first of its paths.
	Regular(path string, f *File, content io.Reader) error
	// Link gets another path of a file, when the first is there.
	Link(first string, e *Entry) error
}

// Visit gives a visitor an entry and all that is below it, in the order of Export.
func (t *Tree) Visit(ctx context.Context, from *Entry, v Visitor) error {
	plan, err := t.plan(ctx, from, v.Empty)
	if err != nil {
		return err
	}
	err = t.Contents(ctx, plan.files, true, func(f *File, content io.Reader) error {
		return v.Regular(plan.first[f], f, content)
	})
	if err != nil {
		return err
	}
	for _, link := range plan.links {
		if err := v.Link(plan.first[link.File], link); err != nil {
			return err
		}
	}
	return nil
}
