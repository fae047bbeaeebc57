package packing

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// Places of a layer's parts in the tree below it. Symbolic links there are followed inside
// of it, as COPY of a Dockerfile does: an entry behind a link would have engines put a
// directory in the link's place.

// place returns the place for a file that has to appear under a path: links are followed,
// except for the last element, which is replaced.
func (w *Writer) place(path string) (string, error) {
	dir, base := layertar.Split(path)
	dir, err := w.resolve(dir)
	return layertar.Join(dir, base), err
}

// resolve returns the target of a path when links are followed, with the root of the image
// as "/". It need not be there.
func (w *Writer) resolve(path string) (string, error) {
	if w.Lower == nil {
		return path, nil
	}
	if own := w.upper.entries[path]; own != nil && own.isDir() {
		return path, nil
	}
	return layertar.Follow(path, func(path string) (string, bool, error) {
		target, err := w.linkAt(path)
		return target, target != "", err
	})
}

// placeFile returns where a file of some name is put if a path is given for it: in the
// directory, if that is one or a link to one, else where a link leads.
func (w *Writer) placeFile(path, name string) (string, error) {
	at, err := w.resolve(path)
	if err != nil {
		return "", err
	}
	into, err := w.isDir(at)
	if err != nil || !into {
		return at, err
	}
	return layertar.Join(at, name), nil
}

// replaceable returns an error if a directory is under a path.
func (w *Writer) replaceable(path string) error {
	if isDir, err := w.isDir(path); err != nil || !isDir {
		return err
	}
	return fmt.Errorf("%q is a directory, which no file can replace", path)
}

// removable returns the place of a file that may be there under a path. If there is no
// directory for it, there is nothing to remove, and ok is false.
func (w *Writer) removable(path string) (at string, ok bool, err error) {
	at, err = w.place(path)
	dir, _ := layertar.Split(at)
	if err != nil || w.Lower == nil || dir == "" {
		return at, true, err
	}
	ok, err = w.isDir(dir)
	return at, ok, err
}

// remove removes the files under a path, from the layer itself and from those below, unless
// nothing is left of these.
func (w *Writer) remove(path string) error {
	shown, err := w.shows(path)
	if err != nil {
		return err
	}
	had := w.upper.drop(path)
	if !shown || had && w.Lower != nil && w.Lower.Layers() == 0 {
		return nil
	}
	return w.hide(path)
}

// hide removes anything under a path.
func (w *Writer) hide(path string) error {
	w.upper.hide(path)
	if w.plan != nil && (!w.plan.hidden[path] || w.plan.entries[path] != nil) {
		// It goes with its directory, or is there again.
		dir, _ := layertar.Split(path)
		return w.writeParents(dir, markerTime)
	}
	return w.mark(whiteout(path))
}

// empty removes the files that the layers below have in a directory.
func (w *Writer) empty(path string) error {
	at, err := w.resolve(path)
	if err != nil {
		return err
	}
	if own, below, err := w.find(at); err != nil || at != "" && (own != nil && !own.isDir() || below != nil && !below.IsDir()) {
		return errors.Join(err, errors.New("it is not a directory in the layers below"))
	}
	w.upper.emptied[at] = true
	if w.plan != nil && at != "" { // The directory brings the marker.
		return w.writeParents(at, markerTime)
	}
	return w.mark(layertar.Join(at, layertar.OpaqueMarker))
}

// mark writes a marker once, after the entries of the directories above it.
func (w *Writer) mark(name string) error {
	h := newMarker(name)
	dir, _ := layertar.Split(name)
	if err := w.writeParents(dir, h.ModTime); err != nil || w.planning || w.marked[name] {
		return err
	}
	w.marked[name] = true
	return w.writeEntry(h, nil)
}

// write writes an entry, whose name is its path, after those of the directories above it.
func (w *Writer) write(h *tar.Header, content io.Reader) error {
	dir, _ := layertar.Split(h.Name)
	if err := w.writeParents(dir, h.ModTime); err != nil {
		return err
	}
	return w.put(h, content)
}

// writeParents writes the entries of a directory and those above it, as they are below. A
// new one has the time of the file that it is made for. The root's is there in every image.
func (w *Writer) writeParents(dir string, modTime time.Time) error {
	if w.Lower == nil || dir == "" {
		return nil
	}
	own, f, err := w.find(dir)
	if err != nil || own != nil && own.isDir() {
		return err
	}
	if own != nil {
		return fmt.Errorf("add to %q: a file of the same layer is there", dir)
	}
	if f != nil && !f.IsDir() {
		return fmt.Errorf("add to %q: it is not a directory in the layers below", dir)
	}
	above, _ := layertar.Split(dir)
	if err := w.writeParents(above, modTime); err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, Uid: w.newOwner[0], Gid: w.newOwner[1], ModTime: modTime}
	if f != nil && f.Layer() >= 0 {
		h = f.Header(dir)
	}
	return w.put(h, nil)
}

// put writes an entry, if the plan has it. A directory is written when it comes first, in
// its final form.
func (w *Writer) put(h *tar.Header, content io.Reader) error {
	w.upper.put(h)
	if w.planning {
		return nil
	}
	if w.plan == nil {
		return w.writeEntry(h, content)
	}
	planned := w.plan.entries[h.Name]
	switch {
	case planned == nil || planned.written:
		return nil
	case planned.isDir():
		if h.Typeflag != tar.TypeDir {
			return nil
		}
		h, content = planned.header, nil
	case planned.turn != w.upper.turns:
		return nil
	}
	planned.written = true
	if err := w.writeEntry(h, content); err != nil || !planned.isDir() || !w.plan.isOpaque(h.Name) {
		return err
	}
	return w.mark(layertar.Join(h.Name, layertar.OpaqueMarker))
}
