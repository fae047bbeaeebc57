package files

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// Entry is a path of a tree and the file that it leads to.
type Entry struct {
	// Path is clean and relative to the root of the image, which is "".
	Path string
	*File
	dir    dir
	link   bool   // the entry of the file has another path
	origin string // the layer that it is from, for Compare
}

// Name is the last element of the path.
func (e *Entry) Name() string {
	_, base := layertar.Split(e.Path)
	return base
}

// dir is a directory of a tree: its nodes in the layers, the highest first.
type dir struct {
	nodes []at
	open  bool // layers that have not been looked at may have more of it
}

// at is a path of one layer.
type at struct {
	layer int32
	*node
}

// errMore means that it takes another layer to answer.
var errMore = errors.New("a lower layer has to be read")

// view is the layers of an image from one on, to another.
type view struct {
	*image
	from, to int // layers
	lowest   int // of those that count
	alone    bool
	said     bool // what is said of a directory will do, without what is in it
}

// root returns the root of the view.
func (v *view) root() dir {
	d := dir{open: v.from > v.lowest}
	for i := v.to - 1; i >= v.from; i-- {
		n := v.layers[i].root
		d.nodes = append(d.nodes, at{int32(i), n})
		if n.opaque {
			d.open = false
			break
		}
	}
	return d
}

// file returns what is said of a directory.
func (d *dir) file() *File {
	for _, n := range d.nodes {
		if n.file != nil {
			return n.file
		}
	}
	return implicit
}

// child returns what is in a directory under a name: a file or, if it is a directory, its
// nodes too. There is none if f is nil.
func (d *dir) child(base string) (f *File, sub dir, err error) {
	var found []at
	for _, parent := range d.nodes {
		if n := parent.get(base); n != nil {
			found = append(found, at{parent.layer, n})
		}
	}
	return d.combine(found)
}

// combine returns what nodes of one name, those of the highest layer first, add up to.
func (d *dir) combine(nodes []at) (f *File, sub dir, err error) {
	sub.open = d.open
	for i, n := range nodes {
		if n.there && !n.isDir() {
			if len(sub.nodes) == 0 {
				return n.file, dir{}, nil
			}
			sub.open = false
			break
		}
		if n.there {
			if sub.nodes == nil {
				sub.nodes = make([]at, 0, len(nodes)-i)
			}
			sub.nodes = append(sub.nodes, n)
		}
		if n.hides || n.opaque {
			sub.open = false
			break
		}
	}
	switch {
	case len(sub.nodes) > 0:
		return sub.file(), sub, nil
	case sub.open:
		return nil, dir{}, errMore
	}
	return nil, dir{}, nil
}

// each yields the nodes of every name that a directory may have, sorted. Some may be
// hidden. A yielded value is valid until the next one.
func (d *dir) each() iter.Seq2[string, []at] {
	var all []at
	for _, n := range d.nodes {
		if n.children == nil {
			continue
		}
		if all == nil {
			all = make([]at, 0, len(n.children.list))
		}
		for _, child := range n.children.list {
			all = append(all, at{n.layer, child})
		}
	}
	if len(d.nodes) > 1 { // Those of one layer are sorted.
		slices.SortFunc(all, func(a, b at) int {
			return cmp.Or(cmp.Compare(a.base, b.base), cmp.Compare(b.layer, a.layer))
		})
	}
	return func(yield func(string, []at) bool) {
		for len(all) > 0 {
			n := 1
			for n < len(all) && all[n].base == all[0].base {
				n++
			}
			if !yield(all[0].base, all[:n]) {
				return
			}
			all = all[n:]
		}
	}
}

// file resolves a hard link to a file of a lower layer.
func (v *view) file(path string, f *File) (*File, error) {
	switch {
	case f.typeflag != tar.TypeLink || v.alone:
		return f, nil
	case v.from > v.lowest:
		return nil, errMore
	}
	below := view{v.image, v.lowest, int(f.layer), v.lowest, false, false}
	target, err := below.target(path, f.Linkname())
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", v.layers[f.layer].Name, err)
	}
	return target, nil
}

// target returns the file that a hard link of the layer above the view is to.
func (v *view) target(path, linkname string) (*File, error) {
	to, err := layertar.Clean(linkname)
	if err != nil {
		return nil, err
	}
	if v.steps.Add(int64(2+strings.Count(to, "/"))) > maxSteps {
		return nil, fmt.Errorf("hard links to lower layers are too many, up to %.100q: more than %d elements of names: %w", path, maxSteps, errdef.ErrLimit)
	}
	e, err := v.walkTo(to, false)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%q is a hard link to %q, which is not there: %w", path, to, errdef.ErrDamaged)
	case err != nil:
		return nil, err
	case e.IsDir():
		return nil, fmt.Errorf("%q is a hard link to the directory %q: %w", path, to, errdef.ErrDamaged)
	}
	return e.File, nil
}

// walkTo follows a path, and the symbolic links in it, but for the last element unless
// that is asked for, with the root of the image as "/".
func (v *view) walkTo(path string, follow bool) (*Entry, error) {
	root := v.root()
	type level struct {
		dir
		base string
	}
	up := []level{{root, ""}}
	current := func() string {
		var b strings.Builder
		for _, l := range up[1:] {
			if b.Len() > 0 {
				b.WriteByte('/')
			}
			b.WriteString(l.base)
		}
		return b.String()
	}
	rest, links := path, 0
	for rest != "" {
		var base string
		base, rest, _ = strings.Cut(rest, "/")
		switch base {
		case "", ".":
			continue
		case "..":
			up = up[:max(1, len(up)-1)]
			continue
		}
		f, sub, err := up[len(up)-1].child(base)
		if err != nil {
			return nil, err
		}
		if f == nil {
			return nil, fmt.Errorf("%q: %w", path, fs.ErrNotExist)
		}
		rest = strings.TrimLeft(rest, "/")
		switch {
		case f.IsDir():
			up = append(up, level{sub, base})
		case f.typeflag == tar.TypeSymlink && (follow || rest != ""):
			target := f.Linkname()
			if links++; links > maxLinks || len(target)+len(rest) > 2*layertar.MaxPath {
				return nil, fmt.Errorf("%.100q leads through more than %d symbolic links: %w", path, maxLinks, errdef.ErrDamaged)
			}
			v.steps.Add(int64(1 + strings.Count(target, "/")))
			if strings.HasPrefix(target, "/") {
				up = up[:1]
			}
			if rest != "" || strings.HasSuffix(target, "/") {
				target += "/" + rest
			}
			rest = target
		case rest != "":
			return nil, fmt.Errorf("%q: %q is not a directory: %w", path, layertar.Join(current(), base), fs.ErrNotExist)
		default:
			whole := layertar.Join(current(), base)
			if f, err = v.file(whole, f); err != nil {
				return nil, err
			}
			return &Entry{Path: whole, File: f}, nil
		}
	}
	last := up[len(up)-1]
	if last.open && !(v.said && last.dir.file() != implicit) { // A lower layer may say what it is.
		return nil, errMore
	}
	return &Entry{Path: current(), File: last.dir.file(), dir: last.dir}, nil
}

// Lookup returns what a path leads to, symbolic links followed with the root of the image
// as "/", and never out of it. The path of the Entry is where it is. It is an
// fs.ErrNotExist if there is nothing, and an errdef.ErrDamaged if there are too many
// links. Only layers are read that can have a part in the answer.
func (t *Tree) Lookup(ctx context.Context, path string) (*Entry, error) {
	return t.lookup(ctx, path, true, false)
}

// LookupLink is Lookup but for the last element, which is not followed.
func (t *Tree) LookupLink(ctx context.Context, path string) (*Entry, error) {
	return t.lookup(ctx, path, false, false)
}

// Stat returns what is said of a path whose last element is not followed. For a directory,
// it reads only as many layers as it takes to know the directory itself.
func (t *Tree) Stat(ctx context.Context, path string) (*File, error) {
	e, err := t.lookup(ctx, path, false, true)
	if err != nil {
		return nil, err
	}
	return e.File, nil
}

func (t *Tree) lookup(ctx context.Context, path string, follow, said bool) (*Entry, error) {
	if len(path) > 2*layertar.MaxPath {
		return nil, fmt.Errorf("the path %.40q… has %d bytes: %w", path, len(path), errdef.ErrLimit)
	}
	v := *t.whole()
	v.from, v.said = v.to, said
	for {
		if v.from > v.lowest {
			if err := t.load(ctx, v.from-1, nil); err != nil {
				return nil, err
			}
			v.from--
		}
		e, err := v.walkTo(path, follow)
		if !errors.Is(err, errMore) {
			return e, err
		}
	}
}

// LookupAll is Lookup once all layers have been read, so that the entry of a directory has
// all that is in it.
func (t *Tree) LookupAll(ctx context.Context, path string) (*Entry, error) {
	if err := t.Load(ctx); err != nil {
		return nil, err
	}
	return t.Lookup(ctx, path)
}
