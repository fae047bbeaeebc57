package archive

import (
	"context"
	"iter"

	"github.com/dockerarchive/dockerarchive/imageinfo"
)

// Description is what can be said of a manifest or an index without reading its layers.
type Description = imageinfo.Manifest

// Describe describes the image. If it is of an archive of Docker before 1.10,
// which has no configs, the layers are read. If it fails, because the image cannot be
// read, it returns as much as is known.
func (i *Image) Describe(ctx context.Context) (*Description, error) {
	d, err := i.catalog.Describe(ctx, i.image)
	if err != nil {
		return &d, i.fail(err)
	}
	return &d, nil
}

// images yields the manifests of images that d is or, as an index, leads to.
func images(d *Description) iter.Seq[*Description] {
	return func(yield func(*Description) bool) { walk(d, yield) }
}

func walk(d *Description, yield func(*Description) bool) bool {
	if d.Attestation {
		return true
	}
	if d.Config != "" || d.Missing {
		return yield(d)
	}
	for n := range d.Manifests {
		if !walk(&d.Manifests[n], yield) {
			return false
		}
	}
	return true
}
