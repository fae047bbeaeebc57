package registries

import (
	"context"
	"errors"
	"io"

	"go.podman.io/image/v5/docker/reference"
	"oras.land/oras-go/v2/registry/remote"
)

// whole reports whether the blob goes into the request that ends the upload. Some registries keep
// in memory what a PATCH brings, and write it when the upload ends.
func (u *Upload) whole() bool {
	return u.sent == 0 && u.blob.Size > 0 && u.ChunkSize == 0 && !u.anew && !u.client.patches(u.to)
}

// put sends the whole blob and ends the upload. After a failure that may be due to that, the
// registry gets no other blob so.
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
	if err != nil && !isBusy(err) && !IsFull(err) && !errors.Is(err, errTokenRejected) {
		u.client.patchTo(u.to)
	}
	return err
}

// patches reports whether blobs go to a registry in a PATCH, which every registry takes.
func (c *Client) patches(to reference.Named) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.patched[reference.Domain(to)]
}

// patchTo has blobs go to a registry in a PATCH from now on.
func (c *Client) patchTo(to reference.Named) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.patched[reference.Domain(to)] = true
}
