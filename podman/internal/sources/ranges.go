package sources

import (
	"context"
	"errors"
	"fmt"
	"io"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
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

// Prepared implements fetching.RangeSource.
func (s *Blobs) Prepared(ctx context.Context) bool {
	return !s.HasRanges() || s.client.Prepared(ctx, s.src.Reference().DockerReference())
}

// OpenRange implements fetching.RangeSource for blobs that are in the registry itself.
func (s *Blobs) OpenRange(ctx context.Context, blob imgspecv1.Descriptor, offset, length int64) (io.ReadCloser, error) {
	if !s.hasRanges(blob) {
		return nil, fetching.ErrNoRanges
	}
	return s.watched(ctx, func(ctx context.Context) (io.ReadCloser, error) {
		body, err := s.client.Range(ctx, s.src.Reference().DockerReference(), blob, offset, length)
		if errors.Is(err, registries.ErrNoRange) {
			err = fmt.Errorf("%w: %w", fetching.ErrNoRanges, err)
		}
		return body, err
	})
}
