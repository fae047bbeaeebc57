package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Lender has layers that archives are without, or makes them. All methods may be called
// concurrently.
type Lender interface {
	// Lends returns the size in bytes that Lend would give, as far as can be told without
	// reading any layer; ok is false if it would fail.
	Lends(l Lacked) (size int64, ok bool)
	// Lend returns a layer. A layer that is made has been verified; one that is lent as it
	// is has not.
	Lend(ctx context.Context, l Lacked) (*Loan, error)
}

// Lacked is a layer that an archive is without.
type Lacked struct {
	Digest digest.Digest
	// Delta makes it of others; nil if the archive has nothing that does. It is not
	// verified.
	Delta *io.SectionReader
}

// Loan is a layer that another archive has. Return, which is never nil, is to be called
// when it is not read any more.
type Loan struct {
	*io.SectionReader
	Return func()
}

// Complete has the catalog take layers that the archive is without from a lender. It must be
// called before the catalog is used.
func (c *Catalog) Complete(lender Lender) { c.lender = lender }

// Lacked returns the layers that the archive is without, as it says.
func (c *Catalog) Lacked() []Lacked {
	var all []Lacked
	for d := range c.leftOut {
		if _, ok := c.lacks(d); ok {
			all = append(all, c.lacked(d))
		}
	}
	return all
}

func (c *Catalog) lacked(d digest.Digest) Lacked {
	l := Lacked{Digest: d}
	delta := c.leftOut[d].Delta
	if delta == nil {
		return l
	}
	name, err := blobName(delta.Digest)
	if err != nil {
		return l
	}
	if f, err := c.files.Lookup(name); err == nil {
		l.Delta = c.files.Open(f)
	}
	return l
}

// lends returns the size of a layer that is not there, if it can be borrowed.
func (c *Catalog) lends(d digest.Digest) (size int64, ok bool) {
	if _, lacks := c.lacks(d); !lacks || c.lender == nil {
		return 0, false
	}
	return c.lender.Lends(c.lacked(d))
}

// borrowed returns a layer that is not there, if it can be borrowed.
func (c *Catalog) borrowed(d digest.Digest) (Blob, bool) {
	size, ok := c.lends(d)
	if !ok {
		return Blob{}, false
	}
	return Blob{Digest: d, Size: size, borrow: func(ctx context.Context) (*Loan, error) {
		return c.lender.Lend(ctx, c.lacked(d))
	}}, true
}

// IsBorrowed reports whether the blob is not in the archive, but can be had elsewhere.
func (b Blob) IsBorrowed() bool { return b.borrow != nil }

// Borrow returns the blob if it IsBorrowed.
func (b Blob) Borrow(ctx context.Context) (*Loan, error) { return b.borrow(ctx) }

// openBorrowed is open for a layer that is borrowed.
func (b Blob) openBorrowed(ctx context.Context, unpacks bool, size int64, want digest.Digest) (io.ReadCloser, error) {
	loan, err := b.borrow(ctx)
	if err != nil {
		return nil, err
	}
	algorithm := compression.None
	if unpacks {
		algorithm, err = detectIn(loan)
	}
	if err == nil {
		var stream io.ReadCloser
		if stream, err = unpack(loan, algorithm); err == nil {
			return checked(ctx, &returning{stream, loan}, b.Digest.String(), size, want), nil
		}
	}
	loan.Return()
	return nil, fmt.Errorf("reading %s: %w", b.Digest, err)
}

// returning gives a loan back when it is closed.
type returning struct {
	io.ReadCloser
	loan *Loan
}

// Close implements io.Closer.
func (r *returning) Close() error {
	defer r.loan.Return()
	return r.ReadCloser.Close()
}

// HeldLayer is a layer that an archive has, or can borrow.
type HeldLayer struct {
	// Digest is the one in its manifest; for a layer that no manifest describes, the diff
	// ID.
	Digest digest.Digest
	Size   int64         // in bytes, of what Open returns
	DiffID digest.Digest // "" if no config tells
	// Text means that no manifest describes the layer, which may be compressed.
	Text bool
	// Lacked is the layer if the archive is without it, and can borrow it.
	Lacked *Lacked
	open   func(ctx context.Context) (*Loan, error)
}

// Open returns the layer as it is stored, not verified.
func (l *HeldLayer) Open(ctx context.Context) (*Loan, error) { return l.open(ctx) }

// HeldLayers returns the layers of all images that the archive has, or can borrow, each
// once. The error is about an image that cannot be read, or that of ctx.
func (c *Catalog) HeldLayers(ctx context.Context) ([]HeldLayer, error) {
	h := &holdings{Catalog: c, seen: map[digest.Digest]bool{}}
	for _, img := range c.images {
		var err error
		switch i := img.contents.(type) {
		case *ociImage:
			err = h.oci(ctx, i)
		case *dockerImage:
			err = h.docker(ctx, i)
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return nil, fmt.Errorf("%s: %w", label(img), err)
		}
	}
	return h.found, nil
}

// holdings collects HeldLayers.
type holdings struct {
	*Catalog
	found []HeldLayer
	seen  map[digest.Digest]bool
}

func (h *holdings) oci(ctx context.Context, i *ociImage) error {
	s, err := i.settle(ctx, i.descriptor)
	switch {
	case err != nil:
		return err
	case s.err != nil:
		return s.err
	case s.instead != nil:
		return h.docker(ctx, s.instead)
	}
	return walk(h.files, i.descriptor, func(d v1.Descriptor, _ []byte, doc *image.Fields, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && d.Digest != i.descriptor.Digest:
			return nil // Another platform, which was never there.
		case err != nil:
			return err
		case doc.Config == nil:
			return nil
		}
		ids, ok := i.diffIDs(doc)
		for n, l := range doc.Layers {
			held := HeldLayer{Digest: l.Digest, Size: l.Size}
			if ok && len(ids) == len(doc.Layers) {
				held.DiffID = ids[n]
			}
			h.add(ctx, i, held)
		}
		return nil
	})
}

// add adds a layer if it is there in the size that its manifest says.
func (h *holdings) add(ctx context.Context, i *ociImage, l HeldLayer) {
	if h.seen[l.Digest] {
		return
	}
	b, err := i.Blob(ctx, l.Digest)
	if err != nil || b.Size != l.Size {
		return
	}
	h.seen[l.Digest] = true
	l.open = b.stored
	if b.IsBorrowed() {
		lacked := h.lacked(l.Digest)
		l.Lacked = &lacked
	}
	h.found = append(h.found, l)
}

func (h *holdings) docker(ctx context.Context, i *dockerImage) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	p, err := i.load(ctx)
	if err != nil {
		return err
	}
	for _, d := range p.diffIDs {
		if h.seen[d] {
			continue
		}
		h.seen[d] = true
		l := p.layers[d]
		h.found = append(h.found, HeldLayer{Digest: d, Size: l.Member.Size, DiffID: d, Text: true, open: Blob{file: l.stored}.stored})
	}
	return nil
}

// stored returns the bytes of a file of the archive, or of what is borrowed.
func (b Blob) stored(ctx context.Context) (*Loan, error) {
	if b.borrow != nil {
		return b.borrow(ctx)
	}
	return &Loan{b.file.files.Open(b.file.Member), func() {}}, nil
}
