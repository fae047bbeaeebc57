package registries

import (
	"context"
	"errors"
	"io"
	"net"

	"go.podman.io/image/v5/docker/reference"
	"oras.land/oras-go/v2/registry/remote"
)

// maxBroken is after how many whole blobs that broke without a refusal a registry gets no other
// so. One may be due to the line.
const maxBroken = 2

// whole reports whether the blob goes into the request that ends the upload. Some registries keep
// in memory what a PATCH brings, and write it when the upload ends.
func (u *Upload) whole() bool {
	return u.sent == 0 && u.blob.Size > 0 && u.ChunkSize == 0 && !u.anew && !u.inParts && !u.client.patches(u.to)
}

// put sends the whole blob and ends the upload. After a failure that may be due to that, this
// blob is not sent so again, and perhaps no other.
func (u *Upload) put(ctx context.Context, r *remote.Repository, open func(skip int64) (io.ReadCloser, error)) error {
	content, err := open(0)
	if err != nil {
		return err
	}
	defer content.Close() // It has only been read.
	body := &stoppable{r: io.LimitReader(content, u.blob.Size)}
	err = u.end(ctx, r, &sized{body, u.blob.Size})
	if failed := body.stop(); failed != nil {
		return failed // Says more than that a request was broken off.
	}
	switch {
	case err == nil, isBusy(err), IsFull(err), isDenied(err), errors.Is(err, errTokenRejected):
		return err
	case ctx.Err() != nil && !isSilence(context.Cause(ctx)): // The caller has given up.
		return err
	}
	u.inParts = true
	u.client.doubt(u.to, isRefused(err) || ctx.Err() != nil)
	return err
}

// isSilence reports whether a context ended because the registry sent nothing, as package stall
// has it. It does not unwrap: the silence in another's error has ended another request.
func isSilence(cause error) bool {
	silent, ok := cause.(net.Error)
	return ok && silent.Timeout() && cause != context.DeadlineExceeded
}

// patches reports whether blobs go to a registry in a PATCH, which every registry takes.
func (c *Client) patches(to reference.Named) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken[reference.Domain(to)] >= maxBroken
}

// doubt notes that a registry has not taken a whole blob. If it is sure that it takes none, or
// after several, blobs go there in a PATCH.
func (c *Client) doubt(to reference.Named, sure bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken[reference.Domain(to)]++; sure {
		c.broken[reference.Domain(to)] = maxBroken
	}
}
