package files

import (
	"archive/tar"
	"context"
	"io"
	"slices"
	"strings"

	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// Squash writes all files as the tar of one layer, in the order of Visit. Its bytes depend only on
// the tree. A directory without an entry gets one here, because some engines would give it mode
// 0600.
func (t *Tree) Squash(ctx context.Context, w io.Writer, rewriting layertar.Rewriting) error {
	root, err := t.Root(ctx)
	if err != nil {
		return err
	}
	x := exporter{layertar.NewWriter(ctx, w), &rewriting}
	if err := t.Visit(ctx, root, &x); err != nil {
		return err
	}
	return x.out.Close()
}

// Rewinder is an output that can take back what has been written.
type Rewinder interface {
	io.Writer
	// Mark returns a function that takes back what is written from now on.
	Mark() (rewind func() error, err error)
}

// Export writes the entry at a path and everything below it as one tar, with paths from the root of
// the image. Its bytes depend only on the tree: first files with content, in the order of Sort;
// then everything without content, in the order of Walk; then hard links. Each layer is verified
// before Export returns without an error.
//
// In that order, the whole image can be written while its layers are read for the first time, from
// the highest down: the layers above are known, and so are the files that they hide. A later entry
// of the same layer may still replace a file; a Rewinder takes the file back then. For any other
// output, layers that have not been read before are read twice.
func (t *Tree) Export(ctx context.Context, w io.Writer, path string) error {
	x := exporter{layertar.NewWriter(ctx, w), &layertar.Rewriting{}}
	var early []written
	if r, ok := w.(Rewinder); ok && strings.Trim(path, "/.") == "" {
		var err error
		if early, err = t.exportReading(ctx, r, x.out); err != nil {
			return err
		}
	}
	from, err := t.LookupAll(ctx, path)
	if err != nil {
		return err
	}
	var empty []*Entry
	plan, err := t.plan(ctx, from, func(e *Entry) error {
		empty = append(empty, e)
		return nil
	})
	if err != nil {
		return err
	}
	left, rewind := plan.left(early)
	if rewind != nil {
		if err := rewind(); err != nil {
			return err
		}
		x.out = layertar.NewWriter(ctx, w)
	}
	if err := t.visitContents(ctx, plan, left, &x); err != nil {
		return err
	}
	for _, e := range empty {
		if err := x.Empty(e); err != nil {
			return err
		}
	}
	if err := plan.visitLinks(&x); err != nil {
		return err
	}
	return x.out.Close()
}

// written lists the files of a layer that were written while it was read.
type written struct {
	layer  int
	nodes  []*node
	files  []*File
	rewind func() error // takes back this layer and all later ones
}

// exportReading reads all layers, and meanwhile writes those files with content that no layer above
// hides.
func (t *Tree) exportReading(ctx context.Context, w Rewinder, out *layertar.Writer) ([]written, error) {
	var all []written
	for i := t.to - 1; i >= t.lowest; i-- {
		if err := out.Flush(); err != nil {
			return nil, err
		}
		rewind, err := w.Mark()
		if err != nil {
			return nil, err
		}
		now := written{layer: i, rewind: rewind}
		above := above{view: view{image: t.image, from: i + 1, to: t.to, lowest: t.lowest}}
		err = t.load(ctx, i, func(n *node, f *File, content io.Reader) error {
			if above.hide(n) {
				return nil
			}
			now.nodes, now.files = append(now.nodes, n), append(now.files, f)
			return out.Write(f.Header(n.path()), content)
		})
		if err != nil {
			return nil, err
		}
		all = append(all, now)
	}
	return all, out.Flush()
}

// above tells what layers hide in the layer below them, which is being read.
type above struct {
	view
	way    []*node // in the layer below: directories from the root to the last one that hide was given
	theirs []dir   // the same directories in the layers above
	spare  []*node // memory for the next way
}

// hide reports whether the layers hide a node of the layer below them.
func (a *above) hide(n *node) bool {
	way := a.spare[:0]
	for up := n.parent; up != nil; up = up.parent {
		way = append(way, up)
	}
	slices.Reverse(way)
	same := 0
	for same < min(len(way), len(a.way)) && way[same] == a.way[same] {
		same++
	}
	a.theirs = a.theirs[:same]
	for _, n := range way[same:] {
		a.theirs = append(a.theirs, a.over(n))
	}
	a.way, a.spare = way, a.way
	d := a.theirs[len(way)-1]
	_, _, err := d.child(n.base)
	return err == nil // An error means that the layers have nothing there.
}

// over returns a directory of the layer below as the layers above have it: it is open if they do
// not hide its content.
func (a *above) over(n *node) dir {
	if n.parent == nil {
		return a.root()
	}
	up := a.theirs[len(a.theirs)-1]
	f, sub, err := up.child(n.base)
	switch {
	case err != nil: // The layers have nothing there.
		return dir{open: true}
	case f == nil || !f.IsDir():
		return dir{}
	}
	return sub
}

// left returns the planned files that are left to be written, and a function that takes back written
// files which must not stay, nil if all may stay.
func (p *plan) left(early []written) ([]*File, func() error) {
	left := p.files
	for _, w := range early {
		n := 0
		for n < len(left) && int(left[n].layer) == w.layer {
			n++
		}
		same := n == len(w.files)
		for i := 0; same && i < n; i++ {
			same = left[i] == w.files[i] && p.first[left[i]].path == w.nodes[i].path()
		}
		if !same {
			return left, w.rewind
		}
		left = left[n:]
	}
	return left, nil
}

// exporter is a Visitor that writes a tar.
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
