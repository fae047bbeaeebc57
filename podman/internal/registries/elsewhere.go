package registries

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// ErrElsewhere means that a registry wants uploads at another host, which its
// credentials are not for.
var ErrElsewhere = errors.New("the registry wants uploads at another host, which the credentials are not for")

// CheckUploads fails with ErrElsewhere if a registry that there are credentials for has uploads
// go to another host. containers/image sends the credentials there, which Upload does not. It
// leaves all other faults of the registry to be found by the upload.
func (c *Client) CheckUploads(ctx context.Context, to reference.Named) error {
	repository, err := c.itself(ctx, to)
	if err != nil || repository.anonymous {
		return nil
	}
	r := repository.remote
	ctx = auth.AppendRepositoryScope(ctx, r.Reference, auth.ActionPull, auth.ActionPush)
	u := c.Upload(to, imgspecv1.DescriptorEmptyJSON)
	if u.begin(ctx, r) != nil {
		return nil
	}
	if !strings.EqualFold(u.location.Host, r.Reference.Host()) {
		return fmt.Errorf("uploading to %s: %w: %q", to.Name(), ErrElsewhere, u.location.Host)
	}
	u.cancel(ctx, r)
	return nil
}

// Put sends a blob that can be read once, and returns its digest and size, which may be
// unknown before. The digest is not verified, but by the registry.
func (c *Client) Put(ctx context.Context, to reference.Named, blob io.Reader, info types.BlobInfo) (types.BlobInfo, error) {
	repository, err := c.itself(ctx, to)
	if err != nil {
		return types.BlobInfo{}, err
	}
	r := repository.remote
	ctx = auth.AppendRepositoryScope(ctx, r.Reference, auth.ActionPull, auth.ActionPush)
	u := c.Upload(to, imgspecv1.Descriptor{Digest: info.Digest, Size: info.Size})
	if err := u.begin(ctx, r); err != nil {
		return types.BlobInfo{}, err
	}
	sum := digest.Canonical.Digester()
	if info.Digest == "" {
		blob = io.TeeReader(blob, sum.Hash())
	}
	read := &countingReader{r: blob}
	body := &stoppable{r: read}
	if err := u.send(ctx, r, nil, body, info.Size); err != nil {
		return types.BlobInfo{}, err
	}
	if info.Digest == "" {
		u.blob.Digest = sum.Digest()
	}
	if err := u.end(ctx, r, nil); err != nil {
		return types.BlobInfo{}, err
	}
	return types.BlobInfo{Digest: u.blob.Digest, Size: read.n}, nil
}

type countingReader struct {
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
