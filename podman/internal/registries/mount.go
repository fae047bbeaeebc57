package registries

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// errNotMounted means that a registry began an upload instead.
var errNotMounted = errors.New("the registry does not mount it")

// Mount has a registry take a blob into a repository from another one of its own or, if from
// is nil, from wherever it has it, which some registries do. It returns false if the registry
// wants the content instead. No mirror is asked.
func (c *Client) Mount(ctx context.Context, to, from reference.Named, blob digest.Digest) (bool, error) {
	r, err := c.itself(ctx, to)
	if err != nil {
		return false, err
	}
	if from == nil {
		return c.mountAny(ctx, r.remote, blob)
	}
	err = r.remote.Mount(ctx, imgspecv1.Descriptor{Digest: blob}, reference.Path(from), func() (io.ReadCloser, error) { return nil, errNotMounted })
	if errors.Is(err, errNotMounted) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("mounting blob %s from %s in %s: %w", blob, from, to, err)
	}
	return true, nil
}

// mountAny mounts a blob from wherever a registry has it. The distribution specification lets
// registries do that where no repository is named.
func (c *Client) mountAny(ctx context.Context, r *remote.Repository, blob digest.Digest) (bool, error) {
	ctx = auth.AppendRepositoryScope(ctx, r.Reference, auth.ActionPull, auth.ActionPush)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, baseOf(r)+"/blobs/uploads/?mount="+blob.String(), nil)
	if err != nil {
		return false, err
	}
	response, err := do(r, request, http.StatusCreated, http.StatusAccepted)
	if err != nil {
		return false, fmt.Errorf("mounting blob %s in %s: %w", blob, r.Reference, err)
	}
	return response.StatusCode == http.StatusCreated, nil // Else an upload has begun, which is forgotten in time.
}
