package files

import (
	"archive/tar"
	"context"
	"iter"

	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// Root returns the root directory. All layers are read.
func (t *Tree) Root(ctx context.Context) (*Entry, error) {
	if err := t.Load(ctx); err != nil {
		return nil, err
	}
	v := t.whole()
	root := v.root()
	return &Entry{File: root.file(), dir: root}, nil
}

func (t *Tree) whole() *view { return &view{t.image, t.lowest, t.to, t.lowest, t.alone, false} }

// Children returns the entries of a directory, sorted by name. All layers are read.
func (t *Tree) Children(ctx context.Context, e *Entry) ([]*Entry, error) {
	if err := t.Load(ctx); err != nil {
		return nil, err
	}
	return t.whole().children(e)
}

func (v *view) children(e *Entry) ([]*Entry, error) {
	var all []*Entry
	for child, err := range v.each(e) {
		if err != nil {
			return nil, err
		}
		all = append(all, child)
	}
	return all, nil
}

// each yields the entries of a directory, sorted by name. It ends after an error.
func (v *view) each(e *Entry) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		for base, nodes := range e.dir.each() {
			f, sub, err := e.dir.combine(nodes)
			if f == nil && err == nil {
				continue
			}
			path := layertar.Join(e.Path, base)
			link := false
			if err == nil {
				link = f.typeflag == tar.TypeLink || nodes[0].link
				f, err = v.file(path, f)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(&Entry{Path: path, File: f, dir: sub, link: link}, nil) {
				return
			}
		}
	}
}

// Walk yields an entry and everything below it, in the order of layertar.Compare: a directory
// before its content, and that sorted. All layers are read. It ends after an error.
func (t *Tree) Walk(ctx context.Context, from *Entry) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		if err := t.Load(ctx); err != nil {
			yield(nil, err)
			return
		}
		t.whole().walk(ctx, from, yield)
	}
}

func (v *view) walk(ctx context.Context, e *Entry, yield func(*Entry, error) bool) bool {
	if !yield(e, nil) {
		return false
	}
	if len(e.dir.nodes) == 0 {
		return true
	}
	if err := ctx.Err(); err != nil {
		yield(nil, err)
		return false
	}
	for child, err := range v.each(e) {
		if err != nil {
			yield(nil, err)
			return false
		}
		if !v.walk(ctx, child, yield) {
			return false
		}
	}
	return true
}
