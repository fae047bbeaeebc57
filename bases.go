package dockerarchive

import (
	"context"
	"fmt"

	"github.com/containers/image/v5/types"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
)

// WithBases returns a reference to the same images. Layers that the archive was saved without
// come from bases: as they are there, or made by deltas and verified. ref must be to an
// archive that is not open yet, of this package or of the transport built into
// containers/image. The bases must stay open as long as the reference is used.
func WithBases(ref types.ImageReference, bases *archive.Bases) (types.ImageReference, error) {
	ours, err := own(ref)
	if err != nil {
		return nil, err
	}
	if ours.reader != nil || ours.writer != nil {
		return nil, fmt.Errorf("%s: reference %s belongs to an open archive", ours.transport.name, ours.StringWithinTransport())
	}
	ours.bases = bases
	return ours, nil
}

// complete has a catalog borrow what the archive is without.
func (ref archiveReference) complete(ctx context.Context, c *catalog.Catalog) error {
	if ref.bases == nil {
		return nil
	}
	return ref.bases.Complete(ctx, c)
}

// UseBases has the images of r take layers that the archive is without from bases, as those
// of WithBases do. It must be called before anything of the archive is read.
func (r *Reader) UseBases(ctx context.Context, bases *archive.Bases) error {
	return bases.Complete(ctx, r.catalog)
}
