package squash

import (
	"archive/tar"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// Write writes the one layer. Its order depends on nothing but the layers: first
// directories and all else that has no content, sorted as layertar.Compare does;
// then the files with content, those of each layer in its order; then the hard
// links, sorted. (All sorted would need the layers' contents in another order than
// that in which they can be read.) Of the paths of one file the first is the file.
//
// A layer that is not what Merge has read is an errdef.ErrDamaged. When ctx ends, so
// does the writing, with its error. What is written is not closed.
func (m *Merged) Write(ctx context.Context, w io.Writer) error {
	out := layertar.NewWriter(ctx, w)
	plan, err := m.plan(func(path string, f *file) error {
		h, err := m.header(path, f)
		if err != nil {
			return err
		}
		return out.Write(h, nil)
	})
	if err != nil {
		return err
	}
	err = m.contents(ctx, plan.files, func(f *file, content io.Reader) error {
		h, err := m.header(f.first.path(), f)
		if err != nil {
			return err
		}
		return out.Write(h, content)
	})
	if err != nil {
		return err
	}
	for _, link := range plan.links {
		h, err := m.header(link.path(), link.file)
		if err != nil {
			return err
		}
		h.Typeflag, h.Size, h.Linkname, h.PAXRecords = tar.TypeLink, 0, link.file.first.path(), nil
		if err := out.Write(h, nil); err != nil {
			return err
		}
	}
	return out.Close()
}

// Tree returns all files that are left. Directories that no entry speaks of are not
// among them. With digests, the layers are read again for those of regular files.
// Errors are as those of Write.
func (m *Merged) Tree(ctx context.Context, digests bool) (*layertar.Tree, error) {
	found := map[*file]digest.Digest{}
	if digests {
		plan, err := m.plan(func(_ string, f *file) error {
			if f.typeflag == tar.TypeReg {
				found[f] = digest.FromBytes(nil)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		err = m.contents(ctx, plan.files, func(f *file, content io.Reader) error {
			found[f], err = digest.FromReader(content)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	t := &layertar.Tree{}
	err := m.root.walk("", func(path string, n *node) error {
		if n.file == nil {
			return nil
		}
		h, err := m.header(path, n.file)
		if err != nil {
			return err
		}
		h.Name = path
		t.Add(layertar.Entry{Header: h, Digest: found[n.file]})
		return nil
	})
	return t, err
}

// header returns the header of a file under a path.
func (m *Merged) header(path string, f *file) (*tar.Header, error) {
	name := path
	switch {
	case path == "":
		name = "./"
	case f.isDir():
		name += "/"
	}
	h := f.header(name)
	return h, m.options.Apply(h)
}

// plan is what is written after all that has no content.
type plan struct {
	files []*file // with content, in the order in which the layers have it
	links []*node // other paths of files, sorted
}

// plan calls a function for each file that has no content, and plans the others.
func (m *Merged) plan(empty func(path string, f *file) error) (*plan, error) {
	p := &plan{}
	err := m.root.walk("", func(path string, n *node) error {
		f := n.file
		switch {
		case f == nil:
			return nil
		case !f.isDir() && f.first != n:
			p.links = append(p.links, n)
			return nil
		case f.typeflag == tar.TypeReg && f.size > 0:
			p.files = append(p.files, f)
			return nil
		}
		return empty(path, f)
	})
	slices.SortFunc(p.files, func(a, b *file) int {
		return cmp.Or(cmp.Compare(a.layer, b.layer), cmp.Compare(a.index, b.index))
	})
	return p, err
}

// contents calls a function for each of the files, which are in the layers' order,
// with its content. Only the layers that have any are opened.
func (m *Merged) contents(ctx context.Context, files []*file, f func(*file, io.Reader) error) error {
	for len(files) > 0 {
		layer := m.layers[files[0].layer]
		end := slices.IndexFunc(files, func(other *file) bool { return other.layer != files[0].layer })
		if end < 0 {
			end = len(files)
		}
		err := layer.read(ctx, func(r io.Reader) error { return contentsOf(ctx, r, files[:end], f) })
		if err != nil {
			return err
		}
		files = files[end:]
	}
	return nil
}

// contentsOf calls a function for each of the files of one layer.
func contentsOf(ctx context.Context, r io.Reader, files []*file, f func(*file, io.Reader) error) error {
	index := -1
	err := layertar.Each(ctx, r, func(h *tar.Header, content io.Reader) error {
		index++
		if len(files) == 0 || int(files[0].index) != index {
			return nil
		}
		next := files[0]
		files = files[1:]
		if checksum(h.Name) != next.name || h.Size != next.size {
			return fmt.Errorf("%q has become %q since the layer was first read: %w", next.first.path(), h.Name, errdef.ErrDamaged)
		}
		return f(next, content)
	})
	if err == nil && len(files) > 0 {
		return fmt.Errorf("%q is no longer in the layer: %w", files[0].first.path(), errdef.ErrDamaged)
	}
	return err
}
