package sources

import (
	"context"
	"fmt"
	"io"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
)

// OpenRange implements fetching.RangeSource, of blobs that are in the registry itself.
func (s *Blobs) OpenRange(ctx context.Context, blob imgspecv1.Descriptor, offset, length int64) (io.ReadCloser, error) {
	if !s.hasRanges(blob) {
		return nil, fetching.ErrNoRanges
	}
	return s.watched(ctx, func(ctx context.Context) (io.ReadCloser, error) { return s.openRange(ctx, blob, offset, length) })
}

func (s *Blobs) openRange(ctx context.Context, blob imgspecv1.Descriptor, offset, length int64) (io.ReadCloser, error) {
	body, err := s.getBlobAt(ctx, blob, uint64(offset), uint64(length))
	if err != nil {
		return nil, err
	}
	if isWhole(body.ReadCloser) {
		body.Close() // It has only been read from.
		return nil, fmt.Errorf("%w: the registry answers with the whole of it", fetching.ErrNoRanges)
	}
	return body, nil
}

func (s *Blobs) hasRanges(blob imgspecv1.Descriptor) bool {
	return s.HasRanges() && len(blob.URLs) == 0
}

func firstOf(ctx context.Context, streams chan io.ReadCloser, errs chan error) (io.ReadCloser, error) {
	for streams != nil || errs != nil {
		select {
		case body, ok := <-streams:
			if ok {
				return body, nil
			}
			streams = nil
		case err, ok := <-errs:
			if ok {
				return nil, err
			}
			errs = nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return nil, fmt.Errorf("no range came: %w", io.ErrUnexpectedEOF)
}

func drain(streams chan io.ReadCloser, errs chan error) {
	for streams != nil || errs != nil {
		select {
		case body, ok := <-streams:
			if ok {
				body.Close() // Nobody wants it.
			} else {
				streams = nil
			}
		case _, ok := <-errs:
			if !ok {
				errs = nil
			}
		}
	}
}

// rangeBody ends its request when it is closed, instead of reading on.
type rangeBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close closes the body.
func (b *rangeBody) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}
