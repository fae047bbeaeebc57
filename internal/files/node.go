package files

import (
	"archive/tar"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

const (
	// maxLinks is how many symbolic links one path may lead through, as many as Linux
	// follows.
	maxLinks = 40
	// maxSteps is how many elements of names are looked up while a layer is read: 4 Mi
	// entries, the default limit, may each be 64 directories deep. Without it, links that
	// lead through links to deep directories cost milliseconds for 512 bytes.
	maxSteps = 1 << 28
	// fewChildren is how many children are looked for one after another.
	fewChildren = 16
)

// node is a path of one layer.
type node struct {
	base     string
	file     *File // nil of a directory that no entry speaks of, and of a mere whiteout
	parent   *node
	children *children
	length   int32 // of its path, and a slash before it
	there    bool  // it is more than a whiteout
	hides    bool  // a whiteout says that lower layers have nothing of this name
	opaque   bool  // lower layers have nothing in it
	link     bool  // the entry of the file has another path
}

// isDir reports whether the layer has a directory there.
func (n *node) isDir() bool { return n.there && (n.file == nil || n.file.IsDir()) }

func (n *node) isLink() bool { return n.file != nil && n.file.typeflag == tar.TypeSymlink }

// children are the contents of a directory.
type children struct {
	list   []*node
	index  map[string]*node // of many, while they are added
	sorted bool             // nothing is added any more
}

// get returns a child, or nil.
func (n *node) get(base string) *node {
	c := n.children
	switch {
	case c == nil:
		return nil
	case c.sorted:
		at, ok := slices.BinarySearchFunc(c.list, base, func(n *node, base string) int { return cmp.Compare(n.base, base) })
		if ok {
			return c.list[at]
		}
		return nil
	case c.index != nil:
		return c.index[base]
	}
	for _, child := range c.list {
		if child.base == base {
			return child
		}
	}
	return nil
}

// make returns a child, which is made if it is not there.
func (n *node) make(base string) (*node, error) {
	if child := n.get(base); child != nil {
		return child, nil
	}
	child := &node{base: strings.Clone(base), parent: n, length: n.length + 1 + int32(len(base))} // base is part of a path.
	if child.length > layertar.MaxPath+1 {                                                        // The root has no slash before it.
		return nil, fmt.Errorf("symbolic links make the path of a file named %.40q longer than %d bytes: %w", base, layertar.MaxPath, errdef.ErrLimit)
	}
	if n.children == nil {
		n.children = &children{}
	}
	c := n.children
	c.list = append(c.list, child)
	if c.index == nil && len(c.list) > fewChildren {
		c.index = make(map[string]*node, 2*fewChildren)
		for _, other := range c.list {
			c.index[other.base] = other
		}
	} else if c.index != nil {
		c.index[child.base] = child
	}
	return child, nil
}

// put makes n the given file. A directory over a directory keeps what is in it.
func (n *node) put(f *File) {
	if !n.isDir() || !f.IsDir() {
		n.children, n.opaque = nil, false
	}
	if f.IsDir() {
		n.hides = false // It takes the place of a whiteout, and is not opaque.
	}
	n.file, n.there, n.link = f, true, false
}

// path returns the path of n in its layer.
func (n *node) path() string {
	path := make([]byte, n.length)
	end := len(path)
	for ; n.parent != nil; n = n.parent {
		end -= copy(path[end-len(n.base):], n.base) + 1
		path[end] = '/'
	}
	return strings.TrimPrefix(string(path), "/")
}

// freeze sorts all that is below n.
func (n *node) freeze() {
	if n.children == nil {
		return
	}
	n.children.list = slices.Clip(n.children.list)
	slices.SortFunc(n.children.list, func(a, b *node) int { return cmp.Compare(a.base, b.base) })
	n.children.index, n.children.sorted = nil, true
	for _, child := range n.children.list {
		child.freeze()
	}
}

// layer is what one layer says, as a tree. Links lead within the layer only: for
// overlayfs, each layer is unpacked into a directory of its own.
type layer struct {
	root    *node
	steps   int
	entries []entry // as they are, if they were asked for
}

// entry is an entry as the tar has it.
type entry struct {
	name string
	file *File
}

func newLayer() *layer { return &layer{root: &node{there: true}} }

// add notes an entry with a clean path. It returns where the file is, nil for a whiteout.
func (l *layer) add(path string, f *File) (*node, error) {
	if whiteout(path) {
		return nil, l.remove(path)
	}
	if path == "" {
		l.root.file = f
		return l.root, nil
	}
	link := f.typeflag == tar.TypeLink
	if link {
		target, err := l.target(path, f.Linkname())
		if err != nil {
			return nil, err
		}
		if target != nil {
			f = target
		}
	}
	n, err := l.make(path)
	if err != nil {
		return nil, err
	}
	if f.isOverlayWhiteout() {
		*n = node{base: n.base, parent: n.parent, length: n.length, hides: true}
		return nil, nil
	}
	n.put(f)
	n.link = link
	return n, nil
}

// whiteout reports whether a path has an element that is a whiteout, or a remnant of
// aufs.
func whiteout(path string) bool {
	return strings.HasPrefix(path, layertar.WhiteoutPrefix) || strings.Contains(path, "/"+layertar.WhiteoutPrefix)
}

// remove notes what a path with ".wh." in it says.
func (l *layer) remove(path string) error {
	dir, base := layertar.Split(path)
	for element := range strings.SplitSeq(dir, "/") {
		switch {
		case strings.HasPrefix(element, layertar.MetaPrefix):
			return nil
		case strings.HasPrefix(element, layertar.WhiteoutPrefix):
			return fmt.Errorf("%q is a file in a whiteout: %w", path, errdef.ErrDamaged)
		}
	}
	hidden := strings.TrimPrefix(base, layertar.WhiteoutPrefix)
	switch {
	case base == layertar.OpaqueMarker:
		n, err := l.makeDir(dir)
		if err == nil {
			n.opaque = true
		}
		return err
	case strings.HasPrefix(base, layertar.MetaPrefix):
		return nil
	case hidden == "" || hidden == "." || hidden == "..":
		return fmt.Errorf("%q is a whiteout of no file: %w", path, errdef.ErrDamaged)
	}
	n, err := l.make(layertar.Join(dir, hidden))
	if err == nil {
		n.hides = true
	}
	return err
}

// make returns the node of a path. Directories above it are made where there are none.
func (l *layer) make(path string) (*node, error) {
	dir, base := layertar.Split(path)
	parent, err := l.makeDir(dir)
	if err != nil {
		return nil, err
	}
	return parent.make(base)
}

// target returns the file of the layer that a hard link is to, nil if there is none: a
// lower layer may have it.
func (l *layer) target(path, linkname string) (*File, error) {
	to, err := layertar.Clean(linkname)
	if err != nil {
		return nil, fmt.Errorf("hard link %q: %w", path, err)
	}
	dir, base := layertar.Split(to)
	n, err := l.resolve(dir, func(*node, string) (*node, error) { return nil, nil })
	if n == nil || err != nil {
		return nil, err
	}
	n = n.get(base)
	switch {
	case n == nil || !n.there || n.file == nil:
		return nil, nil
	case n.isDir():
		return nil, fmt.Errorf("%q is a hard link to the directory %q: %w", path, to, errdef.ErrDamaged)
	}
	return n.file, nil
}

// makeDir returns the directory of a path, and makes missing ones.
func (l *layer) makeDir(path string) (*node, error) {
	return l.resolve(path, func(parent *node, base string) (*node, error) {
		n, err := parent.make(base)
		if err == nil {
			n.put(implicit)
			n.file = nil
		}
		return n, err
	})
}

// resolve follows a path, and the symbolic links in it, from the root and never out of
// it. Where a directory is missing, or another file in its place, it asks for one.
func (l *layer) resolve(path string, missing func(*node, string) (*node, error)) (*node, error) {
	at, rest, links := l.root, path, 0
	for rest != "" {
		if l.steps++; l.steps > maxSteps {
			return nil, fmt.Errorf("directories are too deep, or behind too many symbolic links, up to %.100q: more than %d elements of names: %w", path, maxSteps, errdef.ErrLimit)
		}
		var base string
		base, rest, _ = strings.Cut(rest, "/")
		switch base {
		case "", ".":
			continue
		case "..":
			if at.parent != nil {
				at = at.parent
			}
			continue
		}
		child := at.get(base)
		if child != nil && child.isLink() {
			target := child.file.Linkname()
			if links++; links > maxLinks || len(target)+len(rest) > 2*layertar.MaxPath {
				return nil, fmt.Errorf("%.100q leads through more than %d symbolic links: %w", path, maxLinks, errdef.ErrDamaged)
			}
			if strings.HasPrefix(target, "/") {
				at = l.root
			}
			rest = target + "/" + rest
			continue
		}
		if child == nil || !child.isDir() {
			var err error
			if child, err = missing(at, base); child == nil || err != nil {
				return nil, err
			}
		}
		at = child
	}
	return at, nil
}
