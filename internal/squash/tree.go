package squash

import (
	"archive/tar"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

const (
	// maxLinks is how many symbolic links one name may lead through, as many as Linux
	// follows.
	maxLinks = 40
	// maxSteps is how many elements of names are looked up in all. 4 Mi entries, the
	// default limit, may each be 64 directories deep. Without it, links that lead
	// through links to deep directories cost milliseconds for 512 bytes.
	maxSteps = 1 << 28
)

// node is a path of the tree.
type node struct {
	file     *file // nil for a directory that no entry speaks of
	parent   *node
	children map[string]*node // of a directory
	base     string           // its name there
	length   int              // of its path, and a slash before it
}

// path returns the path.
func (n *node) path() string {
	path := make([]byte, n.length)
	for end := n.length; n.parent != nil; n = n.parent {
		end -= copy(path[end-len(n.base):], n.base) + 1
		path[end] = '/'
	}
	return strings.TrimPrefix(string(path), "/")
}

// name notes which path of every file below the node is the first.
func (n *node) name() {
	if n.file != nil && n.file.first == nil {
		n.file.first = n
	}
	for _, base := range slices.Sorted(maps.Keys(n.children)) {
		n.children[base].name()
	}
}

// tree is what the layers that have been read add up to.
type tree struct {
	root  *node
	steps int
}

// apply puts a layer on the tree: first what it takes away, so that this cannot be
// anything of its own.
func (t *tree) apply(c *changes) error {
	if err := t.takeAway(c); err != nil {
		return err
	}
	for _, added := range c.added {
		if err := t.add(added); err != nil {
			return err
		}
	}
	return nil
}

// takeAway takes from the tree what whiteouts speak of.
func (t *tree) takeAway(c *changes) error {
	if len(c.removed) == 0 && len(c.opaque) == 0 {
		return nil
	}
	replaced := map[string]bool{}
	for _, added := range c.added {
		if added.isDir() {
			replaced[added.path] = true
		}
	}
	isReplaced := func(dir string) bool { return replaced[dir] }
	// All are found before any is taken away, as one may be found through another.
	parents, opaque := make([]*node, len(c.removed)), make([]*node, len(c.opaque))
	var err error
	for i, path := range c.removed {
		dir, _ := layertar.Split(path)
		if parents[i], err = t.lookup(dir, isReplaced); err != nil {
			return err
		}
	}
	for i, dir := range c.opaque {
		if opaque[i], err = t.lookup(dir, isReplaced); err != nil {
			return err
		}
	}
	for i, n := range parents {
		if n != nil {
			_, base := layertar.Split(c.removed[i])
			delete(n.children, base)
		}
	}
	for _, n := range opaque {
		if n != nil {
			n.children = nil
		}
	}
	return nil
}

// add puts a file under its path.
func (t *tree) add(c change) error {
	if c.path == "" {
		t.root.file = c.file
		return nil
	}
	dir, base := layertar.Split(c.path)
	parent, err := t.makeDir(dir)
	if err != nil {
		return err
	}
	f := c.file
	if f.typeflag == tar.TypeLink {
		if f, err = t.target(c); err != nil {
			return err
		}
	}
	old := parent.children[base]
	if old != nil && old.file.isDir() && f.isDir() {
		old.file = f
		return nil
	}
	_, err = parent.put(base, f)
	return err
}

// target returns the file that a hard link is to.
func (t *tree) target(c change) (*file, error) {
	path, err := layertar.Clean(c.linkname)
	if err != nil {
		return nil, fmt.Errorf("hard link %q: %w", c.path, err)
	}
	dir, base := layertar.Split(path)
	n, err := t.lookup(dir, nil)
	if err != nil {
		return nil, err
	}
	if n == nil || n.children[base] == nil {
		return nil, fmt.Errorf("%q is a hard link to %q, which is not there: %w", c.path, path, errdef.ErrDamaged)
	}
	target := n.children[base].file
	if target.isDir() {
		return nil, fmt.Errorf("%q is a hard link to the directory %q: %w", c.path, path, errdef.ErrDamaged)
	}
	return target, nil
}

// put puts a file into a directory, in the place of whatever has its name there.
func (n *node) put(base string, f *file) (*node, error) {
	base = strings.Clone(base) // It is part of a path, which need not be kept.
	child := &node{file: f, parent: n, base: base, length: n.length + 1 + len(base)}
	if child.length > layertar.MaxPath+1 { // The root has no slash before it.
		return nil, fmt.Errorf("symbolic links make the path of a file named %.40q longer than %d bytes: %w", base, layertar.MaxPath, errdef.ErrLimit)
	}
	if n.children == nil {
		n.children = map[string]*node{}
	}
	n.children[base] = child
	return child, nil
}

// lookup returns the directory of a path, nil if there is none. Where isReplaced,
// unless nil, says so of a symbolic link's path, it is not followed: there is no
// directory.
func (t *tree) lookup(path string, isReplaced func(string) bool) (*node, error) {
	return t.resolve(path, func(*node, string) (*node, error) { return nil, nil }, isReplaced)
}

// makeDir returns the directory of a path, and makes what is not there.
func (t *tree) makeDir(path string) (*node, error) {
	return t.resolve(path, func(n *node, base string) (*node, error) { return n.put(base, nil) }, nil)
}

// resolve follows a path, and the symbolic links in it, from the root and never out
// of it. Where a directory is missing, or another file in its place, it asks for one.
func (t *tree) resolve(path string, missing func(*node, string) (*node, error), isReplaced func(string) bool) (*node, error) {
	at, rest, links := t.root, path, 0
	for rest != "" {
		if t.steps++; t.steps > maxSteps {
			return nil, fmt.Errorf("directories are too deep, or behind too many symbolic links, up to %q: %w", path, errdef.ErrLimit)
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
		child := at.children[base]
		if child != nil && child.file.isLink() {
			if isReplaced != nil && links == 0 && isReplaced(strings.TrimSuffix(path[:len(path)-len(rest)], "/")) {
				return nil, nil
			}
			target := child.file.linkname
			if links++; links > maxLinks || len(target)+len(rest) > 2*layertar.MaxPath {
				return nil, fmt.Errorf("%q leads through too many symbolic links: %w", path, errdef.ErrDamaged)
			}
			if strings.HasPrefix(target, "/") {
				at = t.root
			}
			rest = target + "/" + rest
			continue
		}
		if child == nil || !child.file.isDir() {
			var err error
			if child, err = missing(at, base); child == nil || err != nil {
				return nil, err
			}
		}
		at = child
	}
	return at, nil
}

// walk calls a function for the node and all below it, a directory before what is in
// it and that sorted.
func (n *node) walk(path string, visit func(path string, n *node) error) error {
	if err := visit(path, n); err != nil {
		return err
	}
	for _, base := range slices.Sorted(maps.Keys(n.children)) {
		if err := n.children[base].walk(layertar.Join(path, base), visit); err != nil {
			return err
		}
	}
	return nil
}
