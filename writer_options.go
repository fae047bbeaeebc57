package dockerarchive

import (
	"fmt"

	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
)

// WriterOption is an option of NewWriter.
type WriterOption func(*writerOptions)

type writerOptions struct {
	transport archiveTransport
	plan      [][]plannedBlob // per image, in the order of an archive that keeps all blobs
	err       error
}

// WithTransport makes a Writer write the kind of archive that t, which must be one
// of this package's transports, stands for. Without it, that is Transport's.
func WithTransport(t types.ImageTransport) WriterOption {
	return func(o *writerOptions) {
		own, ok := t.(archiveTransport)
		if !ok {
			o.err = fmt.Errorf("transport %s does not write archives of this package", t.Name())
			return
		}
		o.transport = own
	}
}

// WithManifests tells a Writer the manifests of the images that will be copied,
// the first of them to the first reference that NewReference returns, and so on.
// Their layers then get their final places at once, and can be copied at the
// same time also to a pipe. The bytes of the archive are the same with and
// without it in a regular file.
func WithManifests(manifests ...[]byte) WriterOption {
	return func(o *writerOptions) {
		for i, m := range manifests {
			blobs, err := planManifest(m, manifest.GuessMIMEType(m))
			if err != nil {
				o.err = fmt.Errorf("planning image %d: parsing its manifest: %w", i, err)
				return
			}
			withPlan(blobs)(o)
		}
	}
}

// withPlan is WithManifests for one image whose blobs are known.
func withPlan(blobs []plannedBlob) WriterOption {
	return func(o *writerOptions) { o.plan = append(o.plan, blobs) }
}
