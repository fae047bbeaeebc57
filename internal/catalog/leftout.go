package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/imageinfo"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// An archive may be without layers that another archive has, and say so in index.json.
// We believe that only for layers, and only if they are missing.

// readLeftOut reads the list of left-out layers in index.json. A list that cannot be read
// counts as none; verifying the archive reports it.
func (c *Catalog) readLeftOut(value string) {
	var err error
	if c.leftOut, err = image.ParseLeftOut(value); err != nil {
		c.noLeftOut(err)
	}
}

// noLeftOut notes that there is no such list because of an error.
func (c *Catalog) noLeftOut(err error) {
	c.leftOutErr = errdef.Errorf(errdef.ErrDamaged, "%s does not say what is left out: %w", indexJSON, err)
}

// LeftOut returns where a layer is, as the archive says, which has it not, nor can borrow
// it.
func (c *Catalog) LeftOut(d digest.Digest) (where image.Elsewhere, ok bool) {
	where, ok = c.lacks(d)
	if !ok || c.lender == nil {
		return where, ok
	}
	_, err := c.lends(d)
	switch {
	case err == nil:
		return image.Elsewhere{}, false
	case !errors.Is(err, fs.ErrNotExist):
		where.Why = err.Error()
	}
	return where, true
}

// lacks is as LeftOut, but also names layers that can be borrowed.
func (c *Catalog) lacks(d digest.Digest) (where image.Elsewhere, ok bool) {
	where, ok = c.leftOut[d]
	if !ok {
		return image.Elsewhere{}, false
	}
	name, err := blobName(d)
	return where, err == nil && !c.files.Has(name)
}

// leaveOut adds layers that are not described as left out yet.
func leaveOut(d *imageinfo.Manifest, layers ...errdef.LeftOut) {
	for _, l := range layers {
		if !slices.ContainsFunc(d.LeftOut, func(other errdef.LeftOut) bool { return other.Digest == l.Digest }) {
			d.LeftOut = append(d.LeftOut, l)
		}
	}
}

func isConfig(doc *image.Fields, b v1.Descriptor) bool {
	return doc.Config != nil && doc.Config.Digest == b.Digest
}

// claimsOfLeftOut checks the archive's list of left-out layers.
func (cs *claims) claimsOfLeftOut() {
	if cs.leftOutErr != nil {
		cs.found.Problems = append(cs.found.Problems, cs.leftOutErr)
	}
	count := 0
	for d := range cs.leftOut {
		if name, err := blobName(d); err == nil && cs.files.Has(name) {
			count++
		}
	}
	if count > 0 {
		cs.note("%s says of %d blobs that they are left out, but they are there", indexJSON, count)
	}
}

// leavesOut reports whether the archive is without a layer on purpose, and records it.
func (cs *claims) leavesOut(l v1.Descriptor) bool {
	name, err := blobName(l.Digest)
	if err != nil {
		return false
	}
	where, ok := cs.LeftOut(l.Digest)
	if !ok {
		return false
	}
	if !cs.elsewhere[name] {
		cs.elsewhere[name] = true
		cs.found.LeftOut = append(cs.found.LeftOut, where.Of(l))
		cs.delta(l, where.Delta)
	}
	return true
}

// borrows returns the claim of a layer that the archive is without, and that it can borrow.
func (cs *claims) borrows(l v1.Descriptor) *Claim {
	b, ok := cs.borrowed(l.Digest)
	if !ok {
		return nil
	}
	cs.delta(l, cs.leftOut[l.Digest].Delta)
	if name, err := blobName(l.Digest); err == nil {
		cs.elsewhere[name] = true // manifest.json may list it too.
	}
	if b.Size != l.Size {
		cs.damaged("layer %s has %d bytes, but another manifest says %d", l.Digest, l.Size, b.Size)
	}
	c := cs.lent[l.Digest]
	if c == nil {
		c = &Claim{Name: l.Digest.String(), File: tarfile.Member{Size: b.Size}, borrow: b.borrow, Stored: []digest.Digest{l.Digest}}
		cs.lent[l.Digest] = c
	}
	return c
}

// delta checks the delta that makes a left-out layer, nil if there is none.
func (cs *claims) delta(l v1.Descriptor, made *image.Delta) {
	if made == nil {
		return
	}
	c := cs.descriptor("layer "+l.Digest.String(), v1.Descriptor{Digest: made.Digest, Size: made.Size, MediaType: made.MediaType})
	if c != nil && c.File.Size != made.Size {
		cs.damaged("%s says that the delta %s has %d bytes, but it has %d", indexJSON, made.Digest, made.Size, c.File.Size)
	}
	if c != nil {
		cs.found.Deltas = append(cs.found.Deltas, Made{Layer: l, Delta: *made, Content: cs.files.Open(c.File)})
	}
}

// Made is a layer and what makes it.
type Made struct {
	Layer   v1.Descriptor
	Delta   image.Delta
	Content *io.SectionReader // of the delta
}

// Held is what an archive has of the layers of its images.
type Held struct {
	// Blobs are layers as manifests describe them, that are there in full, by digest:
	// their sizes in bytes.
	Blobs map[digest.Digest]int64
	// DiffIDs are those of layers that are there in a form that no manifest describes.
	DiffIDs map[digest.Digest]bool
}

// Held returns which layers of its images the archive has, as far as names and sizes
// tell: their content is not read. It is read in archives of Docker before 1.10, which
// have no configs. The error is about an image that cannot be read, or that of ctx.
func (c *Catalog) Held(ctx context.Context) (*Held, error) {
	h := &Held{Blobs: map[digest.Digest]int64{}, DiffIDs: map[digest.Digest]bool{}}
	for _, img := range c.images {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		switch i := img.contents.(type) {
		case *ociImage:
			if err := c.heldBlobs(ctx, i, h); err != nil {
				return nil, fmt.Errorf("%s: %w", label(img), err)
			}
		case *dockerImage:
			if err := i.heldDiffIDs(ctx, h.DiffIDs); err != nil {
				return nil, fmt.Errorf("%s: %w", label(img), err)
			}
		}
	}
	return h, nil
}

func (c *Catalog) heldBlobs(ctx context.Context, i *ociImage, h *Held) error {
	s, err := i.settle(ctx, i.descriptor)
	switch {
	case err != nil:
		return err
	case s.err != nil:
		return s.err
	case s.instead != nil:
		return s.instead.heldDiffIDs(ctx, h.DiffIDs)
	}
	return walk(c.files, i.descriptor, func(d v1.Descriptor, _ []byte, doc *image.Fields, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && d.Digest != i.descriptor.Digest:
			return nil // Another platform, which was never there.
		case err != nil:
			return err
		}
		for _, l := range doc.Layers {
			f, err := i.lookup(l.Digest)
			if err == nil && f.Size == l.Size {
				h.Blobs[l.Digest] = l.Size
			} else if lent, ok := c.borrowed(l.Digest); ok && errors.Is(err, fs.ErrNotExist) && lent.Size == l.Size {
				h.Blobs[l.Digest] = l.Size
			}
		}
		return nil
	})
}

// heldDiffIDs adds the diff IDs of an image whose layers are all there. Those that are
// named by a digest have to be named by that.
func (i *dockerImage) heldDiffIDs(ctx context.Context, diffIDs map[digest.Digest]bool) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	p, err := i.load(ctx)
	if err != nil {
		return err
	}
	for d, l := range p.layers {
		named, ok := digestInName(l.Name)
		if l.Member.Size > 0 && (!ok || named == d || l.algorithm != compression.None) {
			diffIDs[d] = true
		}
	}
	return nil
}
