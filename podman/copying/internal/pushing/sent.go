package pushing

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// acquire takes a place in a channel that bounds something.
func acquire(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sentReader verifies a blob while it is sent, and remembers why it could not be read.
type sentReader struct {
	r        io.ReadCloser
	want     image.Blob
	digester digest.Digester
	n        int64
	skip     int64 // bytes that are not reported as read
	read     func(int)
	err      error
}

// Read implements io.Reader.
func (r *sentReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 {
		r.n += int64(n)
		if sent := min(int64(n), r.n-r.skip); sent > 0 {
			r.read(int(sent))
		}
		r.digester.Hash().Write(p[:n]) // Never fails.
	}
	// The last bytes are only sent when they are known to be right.
	if err == io.EOF || err == nil && r.n == r.want.Size {
		if got := r.digester.Digest(); got != r.want.Digest {
			err = &errdef.MismatchError{Name: "blob " + r.want.Digest.String(), Want: r.want.Digest, Got: got}
		}
	}
	if err != nil && err != io.EOF {
		r.err = err
		return 0, err
	}
	return n, err
}

// Close closes the source.
func (r *sentReader) Close() error { return r.r.Close() }
