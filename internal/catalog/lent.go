package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Lender has layers that archives are without, or makes them. All methods may be called
// concurrently.
type Lender interface {
	// Lends returns why Lend would fail, as far as can be told without reading any layer. The
	// error wraps fs.ErrNotExist if there is nothing wrong but that the layer, or one that it
	// is made from, is not there.
	Lends(l *Lacked) error
	// Lend returns a layer. A layer that is made has been verified; one that is lent as it
	// is has not.
	Lend(ctx context.Context, l *Lacked) (*Loan, error)
}

// Lacked is a layer that an archive is without. An archive has one for each such layer, always
// the same.
type Lacked struct {
	Digest digest.Digest
	// Size is how many bytes the layer has, as its manifest says; -1 if no manifest has it.
	Size int64
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
func (c *Catalog) Lacked() []*Lacked {
	var all []*Lacked
	for d := range c.leftOut {
		if _, ok := c.lacks(d); ok {
			all = append(all, c.lacked(d))
		}
	}
	return all
}

// lackedLayers are the layers that an archive is without, as far as somebody has asked.
type lackedLayers struct {
	mu    sync.Mutex
	all   map[digest.Digest]*Lacked
	sizes map[digest.Digest]int64 // of left-out layers, as manifests have them; nil before they are read
}

func (c *Catalog) lacked(d digest.Digest) *Lacked {
	known := &c.lackedLayers
	known.mu.Lock()
	defer known.mu.Unlock()
	if l := known.all[d]; l != nil {
		return l
	}
	if known.all == nil {
		known.all, known.sizes = map[digest.Digest]*Lacked{}, c.leftOutSizes()
	}
	l := &Lacked{Digest: d, Size: -1}
	if size, ok := known.sizes[d]; ok {
		l.Size = size
	}
	if delta := c.leftOut[d].Delta; delta != nil {
		if name, err := blobName(delta.Digest); err == nil {
			if f, err := c.files.Lookup(name); err == nil {
				l.Delta = c.files.Open(f)
			}
		}
	}
	known.all[d] = l
	return l
}

// leftOutSizes returns the sizes of left-out layers as manifests have them. If two do not
// agree, one of them counts, and checking the claims reports the other.
func (c *Catalog) leftOutSizes() map[digest.Digest]int64 {
	sizes := map[digest.Digest]int64{}
	for _, img := range c.oci {
		_ = walk(c.files, img.contents.(*ociImage).descriptor, func(_ v1.Descriptor, _ []byte, doc *image.Fields, err error) error {
			if err != nil {
				return nil // Whoever needs this manifest reports it.
			}
			for _, l := range doc.Layers {
				if _, ok := c.leftOut[l.Digest]; ok {
					sizes[l.Digest] = l.Size
				}
			}
			return nil
		})
	}
	return sizes
}

// lends returns a layer that is not there, and why it cannot be borrowed: an error that wraps
// fs.ErrNotExist if nothing is wrong with what there is.
func (c *Catalog) lends(d digest.Digest) (*Lacked, error) {
	if _, lacks := c.lacks(d); !lacks || c.lender == nil {
		return nil, fs.ErrNotExist
	}
	l := c.lacked(d)
	return l, c.lender.Lends(l)
}

// borrowed returns a layer that is not there, if it can be borrowed.
func (c *Catalog) borrowed(d digest.Digest) (Blob, bool) {
	l, err := c.lends(d)
	if err != nil {
		return Blob{}, false
	}
	return Blob{Digest: d, Size: l.Size, borrow: func(ctx context.Context) (*Loan, error) {
		return c.lender.Lend(ctx, l)
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

// HeldLayer is a layer that an archive has, or that one of its deltas makes.
type HeldLayer struct {
	// Digest is the one in its manifest; for a layer that no manifest describes, the diff
	// ID.
	Digest digest.Digest
	Size   int64         // in bytes, of what Open returns
	DiffID digest.Digest // "" if no config tells
	// Text means that no manifest describes the layer, which may be compressed.
	Text bool
	// Lacked is the layer if the archive has a delta instead; Open is not for it.
	Lacked *Lacked
	open   func(ctx context.Context) (*Loan, error)
}

// Open returns the layer as it is stored, not verified.
func (l *HeldLayer) Open(ctx context.Context) (*Loan, error) { return l.open(ctx) }

// HeldLayers returns the layers of all images that the archive has, or has deltas for, each
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

// add adds a layer if it is there in the size that its manifest says, or if a delta makes it.
func (h *holdings) add(ctx context.Context, i *ociImage, l HeldLayer) {
	if h.seen[l.Digest] {
		return
	}
	if _, ok := h.lacks(l.Digest); ok {
		if lacked := h.lacked(l.Digest); lacked.Delta != nil {
			h.seen[l.Digest] = true
			l.Lacked = lacked
			h.found = append(h.found, l)
		}
		return
	}
	b, err := i.Blob(ctx, l.Digest)
	if err != nil || b.Size != l.Size {
		return
	}
	h.seen[l.Digest] = true
	l.open = b.stored
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

// stored returns the bytes of a file of the archive.
func (b Blob) stored(context.Context) (*Loan, error) {
	return &Loan{b.file.files.Open(b.file.Member), func() {}}, nil
}
