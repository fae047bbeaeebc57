package archive

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/bases"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
)

// Bases are archives and other stores that lend layers to an archive saved without them: as
// they are, or made by the archive's deltas. A layer that is made is verified before anybody
// gets a byte of it.
//
// Bases are filled first, and then given to an Opener. After that all methods may be called
// concurrently. One layer is made at a time, with at most 96 MB of memory.
type Bases struct {
	set   bases.Set
	turn  chan struct{} // held while taking from later
	later []func(ctx context.Context) error
}

// BasesOptions are how layers are made. The zero value will do.
type BasesOptions struct {
	// TempDir is the directory for temporary files, which have no names; "" is the
	// system's for large ones. A layer that is made takes its own size there, and while it is
	// made up to three times its text.
	TempDir string
	// Keep is how many bytes of made layers are kept when nobody reads them, to be asked for
	// again.
	Keep int64
}

// NewBases returns empty Bases. The caller must close them.
func NewBases(o BasesOptions) *Bases {
	return &Bases{set: bases.Set{TempDir: o.TempDir, Keep: o.Keep}, turn: make(chan struct{}, 1)}
}

// AddArchive adds the layers of an archive, which must not have been read before, nor be
// closed while the Bases are used. name is its name in errors and in archives that are saved.
// An archive that is itself without layers borrows them from the Bases; the order is of no
// importance.
func (b *Bases) AddArchive(ctx context.Context, name string, a *Archive) error {
	if err := b.set.AddCatalog(ctx, name, a.catalog); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}

// AddLater has add called when an archive without some layers is first opened with the Bases,
// so that a complete archive costs nothing. If add fails, opening the archive does, and add
// is called again for the next one.
func (b *Bases) AddLater(add func(ctx context.Context) error) { b.later = append(b.later, add) }

// Complete has an archive that was just opened borrow the layers that it is without. It is for
// the packages of this module.
func (b *Bases) Complete(ctx context.Context, c *catalog.Catalog) error {
	c.Complete(&b.set)
	if len(c.Lacked()) == 0 {
		return nil
	}
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for len(b.later) > 0 {
		if err := b.later[0](ctx); err != nil {
			return err
		}
		b.later = b.later[1:]
	}
	return nil
}

// BaseLayer is a layer of something else than an archive.
type BaseLayer struct {
	// From is what errors call the store.
	From string
	// Digest is the manifest's digest of the bytes that Open returns; "" if there is none.
	Digest digest.Digest
	Size   int64 // in bytes, of what Open returns; -1 if that is not known
	// DiffID is the digest of what Open returns when it is decompressed.
	DiffID digest.Digest
	// Open returns the layer, compressed or not, and its size in bytes. done is called when
	// it is not read any more. It is called concurrently.
	Open func(ctx context.Context) (r io.ReaderAt, size int64, done func(), err error)
}

// AddLayer adds a layer.
func (b *Bases) AddLayer(l BaseLayer) {
	b.set.Add(bases.Layer{From: l.From, Digest: l.Digest, Size: l.Size, DiffID: l.DiffID, Open: func(ctx context.Context) (*catalog.Loan, error) {
		r, size, done, err := l.Open(ctx)
		if err != nil {
			return nil, err
		}
		return &catalog.Loan{SectionReader: io.NewSectionReader(r, 0, size), Return: done}, nil
	}})
}

// Set returns what lends the layers, and makes deltas. It is for the packages of this module.
func (b *Bases) Set() *bases.Set { return &b.set }

// Close frees the layers that are kept. The archives stay open.
func (b *Bases) Close() error { return b.set.Close() }
