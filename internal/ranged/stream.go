package ranged

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dockerarchive/dockerarchive/internal/retry"
)

// Stream returns n bytes from an offset on, by one request. If the answer breaks off, another request brings the
// rest. Nothing is kept. The stream ends with ctx and with the context of the Reader. The caller must close it.
// Stream itself fails if the request does.
func (r *Reader) Stream(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if off < 0 || n < 0 || off > r.size-n {
		return nil, fmt.Errorf("%d bytes at offset %d are not all within the %d that there are", n, off, r.size)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s := &stream{reader: r, ctx: ctx, off: off, left: n, backoff: r.policy.Backoff()}
	stop := context.AfterFunc(r.ctx, func() { cancel(context.Cause(r.ctx)) })
	s.end = func() { stop(); cancel(nil) }
	if err := s.open(); err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

type stream struct {
	reader    *Reader
	ctx       context.Context
	end       func()
	off, left int64
	asked     int64         // the offset of the last request
	body      io.ReadCloser // nil if the rest has to be requested
	backoff   *retry.Backoff
	err       error
}

// open requests the rest, until there is an answer.
func (s *stream) open() error {
	for s.body == nil && s.left > 0 {
		s.asked = s.off
		body, err := s.reader.source.Range(s.ctx, s.off, s.left)
		if err == nil {
			s.body = body
		} else if err := s.wait(err); err != nil {
			return err
		}
	}
	return nil
}

// wait returns nil when the next request may be made.
func (s *stream) wait(err error) error {
	if err := s.backoff.Resume(s.ctx, err, s.off-s.asked >= worthwhile, s.reader.again); err != nil {
		return s.reader.failed(err)
	}
	return nil
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	for n == 0 && s.err == nil {
		if s.left == 0 {
			return 0, io.EOF
		}
		if s.err = s.open(); s.err != nil {
			break
		}
		n, err = s.body.Read(p[:min(int64(len(p)), s.left)])
		s.off, s.left = s.off+int64(n), s.left-int64(n)
		if err != nil && s.left > 0 {
			s.err = s.broken(err)
		}
	}
	return n, s.err
}

// broken closes an answer that broke off, and returns nil if the rest is to be requested.
func (s *stream) broken(err error) error {
	_ = s.body.Close() // It has failed already.
	s.body = nil
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return s.wait(fmt.Errorf("the answer broke off at offset %d: %w", s.off, err))
}

// Close ends the request.
func (s *stream) Close() error {
	s.end()
	if s.body == nil {
		return nil
	}
	return s.body.Close()
}
