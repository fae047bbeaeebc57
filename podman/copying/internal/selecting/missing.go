package selecting

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"go.podman.io/image/v5/manifest"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// lacking returns which blob of a manifest is not at the same source, if that can be found
// out without asking another machine; nil if all are there, or if it is not known.
func (r *reading) lacking(ctx context.Context, document *image.Document) error {
	for b := range image.BlobsOf([]*image.Document{document}) {
		if b.Kind == image.KindDocument {
			continue
		}
		if err := r.missing(ctx, b); err != nil {
			return fmt.Errorf("blob %s: %w", b.Digest, err)
		}
	}
	return nil
}

// missing returns why a blob is not there, nil if it is, or if that is not known.
func (r *reading) missing(ctx context.Context, b image.Blob) error {
	if r.img.partial != nil {
		return r.img.partial.Missing(ctx, b.Digest)
	}
	if r.img.Source.Transport().Name() != ocilayout.Transport.Name() {
		return nil
	}
	body, _, err := r.img.src.GetBlob(ctx, manifest.BlobInfoFromOCI1Descriptor(b.Descriptor), none.NoCache)
	if err == nil {
		_ = body.Close() // Nothing was read.
	}
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil // Other faults are found when it is read.
}
