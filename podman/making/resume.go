package making

import (
	"context"
	"io"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/podman/internal/answers"
)

// Blob implements compose.Base. What fails for a reason that may pass is tried again, and
// resumed, RetryTimes times.
func (b *Base) Blob(ctx context.Context, d imgspecv1.Descriptor) (io.ReadCloser, error) {
	policy := retry.Policy{Times: b.RetryTimes, FirstDelay: b.delay, Classifiers: []retry.Classifier{answers.Judge}}
	r := &resumed{ctx: ctx, base: b, blob: d, backoff: policy.Backoff()}
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

// resumed is a blob that is read on where it broke off.
type resumed struct {
	ctx     context.Context
	base    *Base
	blob    imgspecv1.Descriptor
	backoff *retry.Backoff
	body    io.ReadCloser // nil after it could not be opened again
	at      int64
}

// open opens the blob where reading it is to go on. Another may be read during a wait.
func (r *resumed) open() error {
	for {
		body, err := r.base.open(r.ctx, r.blob)
		if err == nil {
			r.body, err = fetching.Skip(body, r.at)
		}
		if err == nil {
			return nil
		}
		if err := r.backoff.Next(r.ctx, err, nil); err != nil {
			return err
		}
	}
}

// Read reads the blob.
func (r *resumed) Read(p []byte) (int, error) {
	if r.body == nil {
		return 0, io.ErrClosedPipe
	}
	n, err := r.body.Read(p)
	r.at += int64(n)
	if err == nil || err == io.EOF {
		return n, err
	}
	_ = r.body.Close() // It has only been read from.
	r.body = nil
	if err := r.backoff.Next(r.ctx, err, nil); err != nil {
		return n, err
	}
	return n, r.open()
}

// Close closes the blob.
func (r *resumed) Close() error {
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}
