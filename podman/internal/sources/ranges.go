package sources

import (
	"context"
	"fmt"
	"io"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
)

// Host implements fetching.RangeSource.
func (s *Blobs) Host() string { return Host(s.src.Reference()) }

// Host returns the registry of a reference, or "" if it is in none.
func Host(ref types.ImageReference) string {
	if !IsRegistry(ref) {
		return ""
	}
	return reference.Domain(ref.DockerReference())
}

// OpenRange implements fetching.RangeSource for blobs that are in the registry itself.
func (s *Blobs) OpenRange(ctx context.Context, blob imgspecv1.Descriptor, offset, length int64) (io.ReadCloser, error) {
	if !s.HasRanges() || len(blob.URLs) > 0 {
		return nil, fetching.ErrNoRanges
	}
	return s.watched(ctx, func(ctx context.Context) (io.ReadCloser, error) {
		return s.reading(ctx, func(from *opened) (io.ReadCloser, error) { return s.openRange(ctx, from, blob, offset, length) })
	})
}

func (s *Blobs) openRange(ctx context.Context, from *opened, blob imgspecv1.Descriptor, offset, length int64) (io.ReadCloser, error) {
	body, err := from.ranger.open(ctx, manifest.BlobInfoFromOCI1Descriptor(blob), uint64(offset), uint64(length))
	if err != nil {
		return nil, err
	}
	if !isRange(body.ReadCloser) {
		body.Close() // It has only been read from.
		return nil, fmt.Errorf("%w: the registry answers with the whole of it", fetching.ErrNoRanges)
	}
	return body, nil
}
