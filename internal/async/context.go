package async

import (
	"context"
	"io"
)

// WithContext returns r, which fails with the context's error once ctx has ended. A Read
// that has begun is not broken off; for sources that may hang, see NewReader.
func WithContext(ctx context.Context, r io.Reader) io.Reader { return &contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
