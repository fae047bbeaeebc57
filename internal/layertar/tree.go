package layertar

import (
	"archive/tar"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// maxLinks is how many symbolic links one path may lead through, as many as Linux
// follows.
const maxLinks = 40

// Entry is a file of a tree.
type Entry struct {
	// Header describes the file, with its path as Name. Hard links to it have the same
	// headers except for the names: each is a file.
	Header *tar.Header
	// Digest is that of the content of a regular file, empty if it is not known.
	Digest digest.Digest
}

// Tree is the files of an image, or of a directory, by their paths. The zero Tree is
// empty. It must not be changed while others read it.
type Tree struct {
	entries  map[string]Entry
	children map[string][]string // of every directory, entry or not
}

// Add adds a file, under the path that is its header's Name, or replaces it. Its
// directory need not be there. Files below a replaced one stay.
func (t *Tree) Add(e Entry) {
	if t.entries == nil {
		t.entries, t.children = map[string]Entry{}, map[string][]string{}
	}
	name := e.Header.Name
	known := t.Has(name)
	t.entries[name] = e
	for !known && name != "" {
		dir, base := Split(name)
		known = t.Has(dir) // Before it has something in it.
		t.children[dir] = append(t.children[dir], base)
		name = dir
	}
}

// Has reports whether a path is that of a file, or of a directory without an entry
// of its own that has something in it.
func (t *Tree) Has(name string) bool {
	_, file := t.entries[name]
	return file || len(t.children[name]) > 0
}

// Get returns the file with a path. Directories that have no entry are not found.
func (t *Tree) Get(name string) (Entry, bool) {
	e, ok := t.entries[name]
	return e, ok
}

// Len returns the number of files, directories among them.
func (t *Tree) Len() int { return len(t.entries) }

// Children returns the names of the files in a directory, sorted.
func (t *Tree) Children(dir string) []string {
	return slices.Sorted(slices.Values(t.children[dir]))
}

// All returns all files in the order of Compare.
func (t *Tree) All() iter.Seq2[string, Entry] {
	return func(yield func(string, Entry) bool) { t.walk("", yield) }
}

func (t *Tree) walk(name string, yield func(string, Entry) bool) bool {
	if e, ok := t.entries[name]; ok && !yield(name, e) {
		return false
	}
	for _, base := range t.Children(name) {
		if !t.walk(Join(name, base), yield) {
			return false
		}
	}
	return true
}

// Resolve returns the target of a path when symbolic links are followed with the
// root of the tree as the root of the file system: never out of it. A path that does
// not exist is returned as it is. A file has to be put at the result to appear under
// the path. Too many links are an ErrDamaged.
func (t *Tree) Resolve(name string) (string, error) {
	return Follow(name, func(path string) (string, bool, error) {
		e, ok := t.entries[path]
		if !ok || e.Header.Typeflag != tar.TypeSymlink {
			return "", false, nil
		}
		return e.Header.Linkname, true, nil
	})
}

// Follow returns the target of a path when symbolic links are followed, with the root of an
// image as the root of the file system: never out of it. linkAt returns the target of the link
// at a clean path, and whether there is one. Too many links are an ErrDamaged.
func Follow(name string, linkAt func(path string) (target string, ok bool, err error)) (string, error) {
	at, rest, links := "", name, 0
	for rest != "" {
		var next string
		next, rest, _ = strings.Cut(rest, "/")
		switch next {
		case "", ".":
			continue
		case "..":
			at, _ = Split(at)
			continue
		}
		target, ok, err := linkAt(Join(at, next))
		if err != nil {
			return "", err
		}
		if !ok {
			at = Join(at, next)
			continue
		}
		if links++; links > maxLinks || len(rest)+len(target) > 2*MaxPath {
			return "", fmt.Errorf("%.100q leads through more than %d symbolic links: %w", name, maxLinks, errdef.ErrDamaged)
		}
		if strings.HasPrefix(target, "/") {
			at = ""
		}
		rest = target + "/" + rest
	}
	return at, nil
}
