package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/files"
)

// LayerSource is a layer from anywhere whose files are read. At or Open must be set.
type LayerSource struct {
	// Name is what errors call the layer.
	Name string
	// Digest is that of the bytes that At or Open return, DiffID that of the layer when it
	// is unpacked. Either may be empty. A layer that is read as a whole is verified
	// against one of them: a compressed one against Digest, unless that is empty.
	Digest, DiffID digest.Digest
	// At returns the layer as it is stored, compressed or not, and its size in bytes, for
	// reading anywhere and concurrently. Nothing is copied then.
	At func(ctx context.Context) (io.ReaderAt, int64, error)
	// Open returns the layer as it is stored. It is read once, into a temporary file.
	Open func(ctx context.Context) (io.ReadCloser, error)
	// Size is how many bytes that are, or 0. It is a hint: large layers are read first.
	Size int64
}

// FilesOptions say how an image's files are read. The zero value is good.
type FilesOptions struct {
	// TempDir is the directory for temporary files, of layers that cannot be read twice or
	// not from the middle: $TMPDIR, or /var/tmp, if it is empty.
	TempDir string
}

// Files is the files of an image: those of its root file system, as overlayfs shows the
// layers, and those of each layer. Its methods may be called concurrently, but not after
// Close.
//
// Layers are read when they are first needed, and once. Such a pass takes about 200 bytes
// of memory for each entry, and keeps points from which a compressed layer can be read on:
// for gzip one for each 4 MiB at least, in 8 MiB of memory at most, and for zstd its
// frames. A layer in zstd of one frame, or in xz or bzip2, is unpacked into a temporary
// file without a name. Tables of contents that layers bring along (eStargz, zstd:chunked)
// are not used, as they may lie.
//
// Layers are verified in that pass. One that is not compressed is read in place and not
// verified.
type Files struct{ tree *files.Tree }

// NewFiles returns the files of an image with these layers, the lowest first. The caller
// must close it.
func NewFiles(layers []LayerSource, o FilesOptions) *Files {
	sources := make([]files.Source, len(layers))
	for i, l := range layers {
		sources[i] = files.Source{Name: l.Name, Digest: l.Digest, DiffID: l.DiffID, At: l.At, Open: l.Open, Size: l.Size}
	}
	return &Files{files.New(sources, files.Options{Random: true, TempDir: o.TempDir})}
}

// Files returns the files of the image that a manifest describes. The caller must close
// them, before the Archive. The error wraps fs.ErrNotExist if the archive lacks layers; it
// is an errdef.LeftOutError, with all missing layers, if the archive says where they are.
func (m *Manifest) Files(ctx context.Context, o FilesOptions) (*Files, error) {
	sources, err := m.LayerSources(ctx)
	if err != nil {
		return nil, err
	}
	return NewFiles(sources, o), nil
}

// LayerSources returns where the layers of a manifest are, for NewFiles. The errors are
// those of Files.
func (m *Manifest) LayerSources(ctx context.Context) ([]LayerSource, error) {
	if m.IsIndex() {
		return nil, m.image.fail(fmt.Errorf("%s is an index: it has files for each of its platforms", m.Digest))
	}
	layers, err := m.Layers(ctx)
	if err != nil {
		return nil, err
	}
	var missing []errdef.LeftOut
	var failed error
	sources := make([]LayerSource, len(layers))
	for i, l := range layers {
		if sources[i], err = l.source(ctx); err == nil {
			continue
		}
		var leftOut *errdef.LeftOutError
		switch {
		case errors.As(err, &leftOut):
			for _, left := range leftOut.Layers {
				left.Size = l.Size
				if !slices.ContainsFunc(missing, func(m errdef.LeftOut) bool { return m.Digest == left.Digest }) { // An image may have a layer twice.
					missing = append(missing, left)
				}
			}
		case failed == nil || !errors.Is(err, fs.ErrNotExist):
			failed = err
		}
	}
	switch {
	case failed != nil:
		return nil, failed
	case len(missing) > 0:
		return nil, m.image.fail(&errdef.LeftOutError{Layers: missing})
	}
	return sources, nil
}

// source returns where the layer is.
func (l *Layer) source(ctx context.Context) (LayerSource, error) {
	b, err := l.Blob(ctx)
	if err != nil {
		return LayerSource{}, err
	}
	if b.blob.IsBorrowed() {
		return LayerSource{Name: l.Digest.String(), Digest: l.Digest, DiffID: l.DiffID, Open: b.Open, Size: l.Size}, nil
	}
	stored, d := b.blob.Stored()
	s := LayerSource{Name: l.Digest.String(), Digest: d, DiffID: l.DiffID, Size: stored.Size()}
	s.At = func(context.Context) (io.ReaderAt, int64, error) { return stored, stored.Size(), nil }
	return s, nil
}

// Close frees what the Files needed.
func (f *Files) Close() error { return f.tree.Close() }

// Layers returns the number of layers.
func (f *Files) Layers() int { return f.tree.Layers() }

// FS returns the root file system of the image. Reading fails when ctx ends.
func (f *Files) FS(ctx context.Context) *FS { return &FS{ctx, f.tree} }

// Layer returns what the layer i has, the lowest being 0, without what it takes away from
// those below it. Reading fails when ctx ends.
func (f *Files) Layer(ctx context.Context, i int) *FS { return &FS{ctx, f.tree.Layer(i)} }
