package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// Host implements fetching.RangeSource.
func (s *Blobs) Host() string {
	if !s.HasRanges() {
		return ""
	}
	return s.client.Host(s.src.Reference().DockerReference())
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
		switch status, _ := registries.Status(err); {
		case errors.Is(err, registries.ErrNoRange):
			err = fmt.Errorf("%w: %w", fetching.ErrNoRanges, err)
		case slices.Contains(refusals, status):
			err = fmt.Errorf("%w: %w", fetching.ErrRefused, err)
		}
		return body, err
	})
}

// refusals are answers to a request for a range that say nothing of others at that registry.
var refusals = []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound}
