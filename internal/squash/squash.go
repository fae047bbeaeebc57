// Package squash makes one layer of the tree of files that several add up to. Nothing is
// unpacked, so it needs no privileges and no disk. What the layers add up to says package
// files.
package squash

import (
	"archive/tar"
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// Write writes the tree as one layer, with its files rewritten. Its order depends on
// nothing but the layers: first directories and all else that has no content, sorted as
// layertar.Compare does; then the files with content, those of each layer in its order;
// then the hard links, sorted. (All sorted would need the layers' contents in another order
// than that in which they can be read.) Of the paths of one file the first is the file.
// A directory that no entry speaks of gets one: some engines would make it 0600.
//
// The layers are verified. When ctx ends, so does the writing, with its error. What is
// written is not closed.
func Write(ctx context.Context, w io.Writer, tree *files.Tree, rewriting *layertar.Rewriting) error {
	out := layertar.NewWriter(ctx, w)
	write := func(path string, f *files.File, content io.Reader) error {
		h, err := header(path, f, rewriting)
		if err != nil {
			return err
		}
		return out.Write(h, content)
	}
	p, err := plan(ctx, tree, func(path string, f *files.File) error {
		if path == "" && f.Layer() < 0 {
			return nil // Every image has a root.
		}
		return write(path, f, nil)
	})
	if err != nil {
		return err
	}
	if err := tree.Contents(ctx, p.files, true, func(f *files.File, content io.Reader) error {
		return write(p.first[f], f, content)
	}); err != nil {
		return err
	}
	for _, link := range p.links {
		h, err := header(link.Path, link.File, rewriting)
		if err != nil {
			return err
		}
		h.Typeflag, h.Size, h.Linkname, h.PAXRecords = tar.TypeLink, 0, p.first[link.File], nil
		if err := out.Write(h, nil); err != nil {
			return err
		}
	}
	return out.Close()
}

// List returns the files of the tree that have an entry in a layer, with the digests of
// regular ones. Their layers are read again for that, and verified.
func List(ctx context.Context, tree *files.Tree) (*layertar.Tree, error) {
	digests := map[*files.File]digest.Digest{}
	p, err := plan(ctx, tree, func(_ string, f *files.File) error {
		if f.IsRegular() {
			digests[f] = digest.FromBytes(nil)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := tree.Contents(ctx, p.files, true, func(f *files.File, content io.Reader) error {
		var err error
		digests[f], err = digest.FromReader(content)
		return err
	}); err != nil {
		return nil, err
	}
	list := &layertar.Tree{}
	root, err := tree.Root(ctx)
	if err != nil {
		return nil, err
	}
	for e, err := range tree.Walk(ctx, root) {
		if err != nil {
			return nil, err
		}
		if e.Layer() >= 0 {
			list.Add(layertar.Entry{Header: e.Header(e.Path), Digest: digests[e.File]})
		}
	}
	return list, nil
}

// header returns the header of a file under a path.
func header(path string, f *files.File, rewriting *layertar.Rewriting) (*tar.Header, error) {
	name := path
	switch {
	case path == "":
		name = "./"
	case f.IsDir():
		name += "/"
	}
	h := f.Header(name)
	return h, rewriting.Apply(h)
}

// planned is what is written after all that has no content.
type planned struct {
	files []*files.File          // with content, in the order in which the layers have it
	first map[*files.File]string // the path that is the file, of those that have content or several paths
	links []*files.Entry         // other paths of files, sorted
}

// plan calls a function for each file that has no content, and plans the others.
func plan(ctx context.Context, tree *files.Tree, empty func(path string, f *files.File) error) (*planned, error) {
	p := &planned{first: map[*files.File]string{}}
	root, err := tree.Root(ctx)
	if err != nil {
		return nil, err
	}
	for e, err := range tree.Walk(ctx, root) {
		if err != nil {
			return nil, err
		}
		if !e.IsDir() {
			if _, known := p.first[e.File]; known {
				p.links = append(p.links, e)
				continue
			}
			p.first[e.File] = e.Path
		}
		if e.IsRegular() && e.Size() > 0 {
			p.files = append(p.files, e.File)
		} else if err := empty(e.Path, e.File); err != nil {
			return nil, err
		}
	}
	files.Sort(p.files)
	return p, nil
}
