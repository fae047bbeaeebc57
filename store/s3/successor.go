package s3

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/ranged"
)

// successor is the next version of an object. It implements output.ChangedObject.
type successor struct{ *upload }

// openSuccessor implements output.Scheme.
func openSuccessor(ctx context.Context, path string, o output.RemoteOptions) (output.ChangedObject, error) {
	t, err := newTarget(ctx, path, o)
	if err != nil {
		return nil, err
	}
	s := &successor{newUpload(ctx, t, o)}
	s.setCopies()
	s.old, s.replaces, err = t.client.open(s.ctx, t.key)
	if err == nil {
		err = s.clear(ctx)
	}
	if err != nil {
		s.close(err)
		return nil, err
	}
	return s, nil
}

// ReadAt implements io.ReaderAt.
func (s *successor) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.old.ReadAt(p, off)
	if errors.Is(err, ranged.ErrChanged) {
		err = fmt.Errorf("%w: %w", output.ErrChanged, err)
	}
	return n, err
}

// Size implements output.ChangedObject.
func (s *successor) Size() int64 { return s.old.Size() }

// Keep implements output.ChangedObject.
func (s *successor) Keep(n int64) error {
	if n < minPart { // No part but the last may be so small.
		_, err := io.Copy(s.upload, io.NewSectionReader(s, 0, n))
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.begin(); err != nil {
		return err
	}
	pieces := (n + copiedPart - 1) / copiedPart
	pieces = min(pieces, maxParts/2)
	s.sizes = sizesFor(s.expects, int(pieces))
	size := n / pieces
	for i := range pieces {
		from, to := size*i, size*(i+1)
		if err := s.next(func(number int32) (types.CompletedPart, error) { return s.copyPart(number, from, to) }); err != nil {
			return err
		}
	}
	// Some stores want parts of the same size, but for the last one. Few bytes are left: less than there are pieces.
	s.buf = s.buffer(s.sizes.of(len(s.parts) + 1))[:n-size*pieces]
	_, err := s.ReadAt(s.buf, size*pieces)
	return err
}
