package packing

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// upper has a layer's own files, and the paths that it removes from the layers below.
type upper struct {
	all     bool // regular files are noted, and not only those that others may lead through
	entries map[string]*entry
	hidden  map[string]bool // paths under which nothing below is left
	emptied map[string]bool // directories in which nothing below is left
	turns   int             // entries that were put, those that others have replaced included
}

// entry is a file of a layer.
type entry struct {
	typeflag byte
	linkname string
	turn     int // which of the entries it was

	// In a plan only.
	header  *tar.Header // of a directory
	written bool        // it is in the tar
}

func (e *entry) isDir() bool { return e.typeflag == tar.TypeDir }

func newUpper(all bool) *upper {
	return &upper{all: all, entries: map[string]*entry{}, hidden: map[string]bool{}, emptied: map[string]bool{}}
}

// put notes an entry in the place of another of its path. The files of a directory go with it.
func (u *upper) put(h *tar.Header) {
	u.turns++
	isDir := h.Typeflag == tar.TypeDir
	if !u.all && !isDir && h.Typeflag != tar.TypeSymlink {
		return
	}
	if old := u.entries[h.Name]; old != nil && old.isDir() != isDir {
		u.hide(h.Name)
	}
	e := &entry{typeflag: h.Typeflag, turn: u.turns}
	if h.Typeflag == tar.TypeSymlink {
		e.linkname = h.Linkname
	}
	if u.all && isDir {
		e.header = new(*h) // The caller's may change.
	}
	u.entries[h.Name] = e
}

// drop forgets the layer's files under a path, and reports whether there were any.
func (u *upper) drop(path string) bool {
	n := len(u.entries)
	maps.DeleteFunc(u.entries, func(name string, _ *entry) bool { return isBelow(name, path) })
	return len(u.entries) < n
}

// hide removes everything under a path, from the layer and from those below.
func (u *upper) hide(path string) {
	u.drop(path)
	for _, set := range []map[string]bool{u.hidden, u.emptied} {
		maps.DeleteFunc(set, func(name string, _ bool) bool { return isBelow(name, path) })
	}
	u.hidden[path] = true
}

// isOpaque reports whether a directory of the layer shows nothing of the layers below.
func (u *upper) isOpaque(dir string) bool { return u.hidden[dir] || u.emptied[dir] }

// isBelow reports whether a path is another, or below it.
func isBelow(path, other string) bool {
	rest, ok := strings.CutPrefix(path, other)
	return ok && (rest == "" || rest[0] == '/' || other == "")
}

// Plan finds out which files a layer ends up with if its parts follow each other, by running
// them without reading contents: a file that another replaces, or that is removed, is left out
// when they are run again to be written, and a removed directory that comes again is opaque. No
// path is written twice, which docker and podman would refuse. It is for layers in which parts
// may meet, and keeps the header of every file.
func (w *Writer) Plan(parts func() error) error {
	w.planning, w.upper = true, newUpper(true)
	err := parts()
	w.plan, w.planning, w.upper = w.upper, false, newUpper(true)
	return err
}

// followed returns an error if a plan was not followed: some of its entries were not written.
func (w *Writer) followed() error {
	if w.plan == nil {
		return nil
	}
	for path, e := range w.plan.entries {
		if !e.written {
			return fmt.Errorf("write %q: what goes there %w", path, ErrChanged)
		}
	}
	return nil
}

// keeps reports whether the entry that was just put is written.
func (w *Writer) keeps(path string) bool {
	if w.planning || w.plan == nil {
		return !w.planning
	}
	e := w.plan.entries[path]
	return e != nil && e.turn == w.upper.turns
}

// find returns the file under a path, links not followed: one of the layer itself or of those
// below. Both are nil if there is none.
func (w *Writer) find(path string) (own *entry, below *files.File, err error) {
	if own := w.upper.entries[path]; own != nil {
		return own, nil, nil
	}
	below, err = w.below(path)
	return nil, below, err
}

// isDir reports whether there is a directory under a path.
func (w *Writer) isDir(path string) (bool, error) {
	own, below, err := w.find(path)
	return path == "" || own != nil && own.isDir() || below != nil && below.IsDir(), err
}

// linkAt returns the target of the link under a path, "" if there is none.
func (w *Writer) linkAt(path string) (string, error) {
	own, below, err := w.find(path)
	switch {
	case own != nil:
		return own.linkname, nil
	case below != nil && below.Type() == tar.TypeSymlink:
		return below.Linkname(), nil
	}
	return "", err
}

// below returns the file that the layers below have under a path, links not followed, nil if
// nothing is left of it.
func (w *Writer) below(path string) (*files.File, error) {
	if w.Lower == nil {
		return nil, nil
	}
	if shown, err := w.shows(path); !shown || err != nil {
		return nil, err
	}
	f, err := w.Lower.Stat(w.ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

// shows reports whether the layer leaves visible the files that those below have under a path.
func (w *Writer) shows(path string) (bool, error) {
	dir, _ := layertar.Split(path)
	switch {
	case w.Lower == nil || path == "":
		return true, nil
	case w.upper.hidden[path] || w.upper.emptied[dir]:
		return false, nil
	case dir == "":
		return true, nil
	}
	if own := w.upper.entries[dir]; own != nil && !own.isDir() {
		return false, nil
	}
	f, err := w.below(dir)
	return f != nil && f.IsDir(), err
}
