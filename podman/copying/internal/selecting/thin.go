package selecting

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// leftOut returns the layers of a manifest that the archive leaves out, with the other
// archives that have them.
func (r *reading) leftOut(ctx context.Context, manifest *image.Document, parsed types.Image) (image.LeftOut, error) {
	leftOut := image.LeftOut{}
	if r.s.options.KeepThin && r.img.partial != nil {
		for _, l := range manifest.Layers {
			if where, ok := r.img.partial.LeftOut(l.Digest); ok {
				leftOut[l.Digest] = where
			}
		}
	}
	if r.s.options.Without == nil {
		return leftOut, nil
	}
	for _, l := range manifest.Layers {
		if archive, ok := r.s.options.Without.has(l); ok {
			leftOut[l.Digest] = image.Elsewhere{Archive: archive}
		}
	}
	if len(r.s.options.Without.diffIDs) == 0 || image.HasOtherLayers(manifest.Layers) {
		return leftOut, nil
	}
	var raw []byte
	err := r.retry(ctx, func(ctx context.Context) (err error) { raw, err = parsed.ConfigBlob(ctx); return err })
	if err != nil {
		return nil, fmt.Errorf("reading its config: %w", err)
	}
	config, err := image.ParseConfig(manifest.Config.Digest.String(), raw)
	if err != nil || len(config.DiffIDs) != len(manifest.Layers) {
		return leftOut, nil // Said when the image is to be completed.
	}
	for n, l := range manifest.Layers {
		archive, ok := r.s.options.Without.diffIDs[config.DiffIDs[n]]
		if _, known := leftOut[l.Digest]; ok && !known {
			leftOut[l.Digest] = image.Elsewhere{Archive: archive}
		}
	}
	return leftOut, nil
}

// LeftOut returns which layers of an image are not in the archive that is written, because
// others have them, each once.
func (i *Image) LeftOut() []errdef.LeftOut {
	return layersOf(i.Documents, func(d *image.Document, l imgspecv1.Descriptor) (image.Elsewhere, bool) {
		where, ok := d.LeftOut[l.Digest]
		return where, ok
	})
}

// layersOf returns the layers of documents that are in other archives, according to in,
// each once.
func layersOf(documents []*image.Document, in func(*image.Document, imgspecv1.Descriptor) (where image.Elsewhere, ok bool)) []errdef.LeftOut {
	var found []errdef.LeftOut
	seen := map[digest.Digest]bool{}
	for _, document := range documents {
		for _, l := range document.Layers {
			if where, ok := in(document, l); ok && !seen[l.Digest] {
				seen[l.Digest] = true
				found = append(found, where.Of(l))
			}
		}
	}
	return found
}

// CheckLeftOut fails, before anything is fetched, for images of archives that were saved
// without layers that are nowhere else: not in the archive that is added to, and in no
// other source.
func (s *Selection) CheckLeftOut(has func(digest.Digest) bool) error {
	elsewhere := map[digest.Digest]bool{}
	for img := range s.Good() {
		for b := range image.BlobsOf(img.Documents) {
			if _, ok := img.Lacks(b.Digest); !ok {
				elsewhere[b.Digest] = true
			}
		}
	}
	failed := false
	for img := range s.Good() {
		missing := layersOf(img.Documents, func(d *image.Document, l imgspecv1.Descriptor) (image.Elsewhere, bool) {
			where, ok := img.Lacks(l.Digest)
			return where, ok && !d.Absent[l.Digest] && !elsewhere[l.Digest] && !has(l.Digest)
		})
		if len(missing) > 0 {
			failed = true
			_ = s.Fail(img, &errdef.LeftOutError{Layers: missing}) // All failures are reported at once.
		}
	}
	switch {
	case !failed:
		return nil
	case !s.options.KeepGoing:
		return s.faults()
	case !s.AnyGood():
		return ErrLeftOut
	}
	return nil
}

// Lacks returns where a layer is, if the source is without it on purpose.
func (i *Image) Lacks(d digest.Digest) (where image.Elsewhere, ok bool) {
	if i.partial == nil {
		return image.Elsewhere{}, false
	}
	return i.partial.LeftOut(d)
}
