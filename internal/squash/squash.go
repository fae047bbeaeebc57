// Package squash makes one layer of several, from their tars alone: nothing is
// unpacked, so it needs no privileges and no disk. What the layers add up to is also
// to be had as a list of files.
//
// The layers are read twice. The first reading keeps what is said of each file, two
// hundred bytes, and no content; the second copies the contents of the files that
// are left, from those layers that have any. So memory is in proportion to the
// number of files, and not to what is in them.
//
// # What layers add up to
//
//   - Whiteouts and opaque directories take away what lower layers have, and nothing
//     of their own layer, wherever in it they stand. None is left in the result, as
//     there is nothing below it.
//   - A later entry replaces an earlier one of the same path, in the same layer too.
//     A directory over a directory replaces what is said of it and keeps what is in
//     it; over anything else it is new. Anything else over a directory takes away all
//     that is in it.
//   - A hard link is to what its target is when the link is read, in a lower layer or
//     further up in its own. If the target is replaced later, or taken away, the link
//     still has the old content; whichever path comes first is the file then. What a
//     link's header says of owner, mode and time is not heeded: it is the same file.
//   - Names are cleaned: absolute ones are relative to the root, "a/../b" is "b". One
//     that leads out is an error.
//   - Where a directory in a name is a symbolic link, it is followed as it stands
//     when the entry is read, with the root of the image as "/", as containerd does;
//     what is not there is made. The last element is never followed. Where a directory
//     in a name is any other file, a directory takes its place. A whiteout is not led
//     by a link that its own layer replaces by a directory.
//   - A directory that has no entry of its own has none in the result.
//   - Extended attributes and devices stay; sparse files are filled; what aufs left
//     (".wh..wh.plnk" and the like) goes.
package squash

import (
	"archive/tar"
	"context"
	"fmt"
	"io"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// Layer is a layer that is merged.
type Layer struct {
	// Name is what errors call the layer.
	Name string
	// Open returns the layer's tar, uncompressed. Merge calls it once, and so does each
	// method of Merged that needs content of the layer. The tar is read to its end, so
	// that a reader that verifies comes to its verdict.
	Open func() (io.ReadCloser, error)
}

// Options say how layers are merged.
type Options struct {
	// Rewriting is done to the header of each file that is left.
	layertar.Rewriting
	// MaxEntries bounds the entries of all layers together: 4 Mi if it is 0.
	MaxEntries int
	// MaxBytes bounds their names, link targets and PAX records together, in bytes:
	// 1 GiB if it is 0.
	MaxBytes int64
}

const (
	defaultEntries = 4 << 20
	defaultBytes   = 1 << 30
)

// Merged is what layers add up to. Its methods may be used concurrently if the
// layers and the functions of the rewriting may.
type Merged struct {
	layers  []Layer
	options Options
	root    *node
}

// Merge reads layers, the lowest first. No layers are an empty tree.
//
// A layer that is damaged, or says what no layer can, is an errdef.ErrDamaged; one
// that would need more memory or time than any real one is an errdef.ErrLimit. Each
// error names the layer. When ctx ends, so does the reading, with its error.
func Merge(ctx context.Context, layers []Layer, options Options) (*Merged, error) {
	if options.MaxEntries == 0 {
		options.MaxEntries = defaultEntries
	}
	if options.MaxBytes == 0 {
		options.MaxBytes = defaultBytes
	}
	t := &tree{root: &node{}}
	in := reader{limits{options.MaxEntries, options.MaxBytes}, map[traits]*attributes{}}
	for i, layer := range layers {
		err := layer.read(ctx, func(r io.Reader) error {
			if i == 0 { // There is nothing to take away, nor to wait for that.
				_, err := in.changes(ctx, r, i, t.add)
				return err
			}
			changes, err := in.changes(ctx, r, i, nil)
			if err != nil {
				return err
			}
			return t.apply(changes)
		})
		if err != nil {
			return nil, err
		}
	}
	t.root.name()
	return &Merged{layers, options, t.root}, nil
}

// read opens a layer for a function and closes it.
func (l *Layer) read(ctx context.Context, f func(io.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r, err := l.Open()
	if err != nil {
		return fmt.Errorf("open layer %s: %w", l.Name, err)
	}
	defer r.Close() //nolint:errcheck // It was only read, and to its end.
	if err := f(r); err != nil {
		return fmt.Errorf("layer %s: %w", l.Name, err)
	}
	return nil
}

// limits are what may still be read.
type limits struct {
	entries int
	bytes   int64
}

// take counts an entry.
func (l *limits) take(h *tar.Header) error {
	l.entries--
	l.bytes -= int64(len(h.Name)) + int64(len(h.Linkname))
	for key, value := range h.PAXRecords {
		l.bytes -= int64(len(key)) + int64(len(value))
	}
	if l.entries < 0 || l.bytes < 0 {
		return fmt.Errorf("there are too many files, or too long names, up to %.100q: %w", h.Name, errdef.ErrLimit)
	}
	return nil
}
