package packing

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// Where parts of a layer go in what it lies upon. Symbolic links there are followed inside
// of it, as COPY of a Dockerfile does: an entry behind a link would have engines put a
// directory in the link's place.

// place returns where a file is put that is to appear under a path: links are followed, but
// for the last element, which is replaced.
func (w *Writer) place(path string) (string, error) {
	dir, base := layertar.Split(path)
	dir, err := w.resolve(dir)
	return layertar.Join(dir, base), err
}

// resolve returns the directory that a path stands for. It need not be there.
func (w *Writer) resolve(dir string) (string, error) {
	if w.Lower == nil || dir == "" || w.parents[dir] {
		return dir, nil
	}
	return w.Lower.Resolve(w.ctx, dir)
}

// placeFile returns where a file of some name is put if a path is given for it: in the
// directory, if that is one or a link to one.
func (w *Writer) placeFile(path, name string) (string, error) {
	dir, err := w.resolve(path)
	if err != nil {
		return "", err
	}
	if f, err := w.lower(dir); err != nil {
		return "", err
	} else if f != nil && f.IsDir() {
		return layertar.Join(dir, name), nil
	}
	return w.place(path)
}

// removable returns where something is that may be there under a path. Where there is no
// directory for it, there is nothing to remove, and ok is false.
func (w *Writer) removable(path string) (at string, ok bool, err error) {
	at, err = w.place(path)
	dir, _ := layertar.Split(at)
	if err != nil || w.Lower == nil || dir == "" {
		return at, true, err
	}
	f, err := w.lower(dir)
	return at, f != nil && f.IsDir(), err
}

// emptied returns where a directory is, or will be, that a path stands for.
func (w *Writer) emptied(path string) (string, error) {
	at, err := w.resolve(path)
	if err != nil || at == "" {
		return at, err
	}
	f, err := w.lower(at)
	if f != nil && !f.IsDir() {
		err = errors.New("it is not a directory in the layers below")
	}
	return at, err
}

// lower returns what is under a path, links not followed, nil if nothing is.
func (w *Writer) lower(path string) (*files.File, error) {
	if w.Lower == nil {
		return nil, nil
	}
	f, err := w.Lower.Stat(w.ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

// write writes an entry, whose name is its path, after those of the directories above it.
func (w *Writer) write(h *tar.Header, content io.Reader) error {
	if w.Lower != nil {
		dir, _ := layertar.Split(h.Name)
		if err := w.writeParents(dir, h.ModTime); err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			w.parents[h.Name] = true
		case tar.TypeSymlink:
			w.links[h.Name] = true
		}
	}
	return w.writeEntry(h, content)
}

// writeParents writes the entries of a directory and those above it, as they are below. A
// new one has the time of what is put into it. The root's is there in every image.
func (w *Writer) writeParents(dir string, modTime time.Time) error {
	if dir == "" || w.parents[dir] {
		return nil
	}
	if w.links[dir] {
		return fmt.Errorf("add to %q: the same layer has a symbolic link there; it must be in a layer below", dir)
	}
	w.parents[dir] = true
	above, _ := layertar.Split(dir)
	if err := w.writeParents(above, modTime); err != nil {
		return err
	}
	f, err := w.lower(dir)
	if err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: modTime}
	if f != nil && !f.IsDir() {
		return fmt.Errorf("add to %q: it is not a directory in the layers below", dir)
	}
	if f != nil && f.Layer() >= 0 {
		h = f.Header(dir)
	}
	return w.writeEntry(h, nil)
}
