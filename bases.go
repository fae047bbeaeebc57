package dockerarchive

import (
	"fmt"

	"github.com/containers/image/v5/types"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
)

// WithBases returns a reference to the same images, whose layers come from bases where the
// archive was saved without them: as they are there, or made by deltas and verified. ref must
// be to an archive, of this package or of the transport that containers/image has built in,
// that is not open yet. The bases must stay open as long as the reference is used.
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
func (ref archiveReference) complete(c *catalog.Catalog) {
	if ref.bases != nil {
		c.Complete(ref.bases.Set())
	}
}

// UseBases has the images of r take layers that the archive is without from bases, as those
// of WithBases do. It must be called before anything of the archive is read.
func (r *Reader) UseBases(bases *archive.Bases) { r.catalog.Complete(bases.Set()) }
