package registries

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
)

// errNotMounted is what a registry means that begins an upload instead.
var errNotMounted = errors.New("the registry does not mount it")

// Mount has a registry take a blob into a repository from another one of its own. It
// returns false if the registry wants the content instead. No mirror is asked.
func (c *Client) Mount(ctx context.Context, to, from reference.Named, blob digest.Digest) (bool, error) {
	r, err := c.itself(ctx, to)
	if err != nil {
		return false, err
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
