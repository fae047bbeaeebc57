package selecting

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// Unchanged returns a reference to an image that has been read. Opening it fails if it
// has become another image since.
func (i *Image) Unchanged() types.ImageReference { return &unchanged{i.Source, i.top} }

type unchanged struct {
	types.ImageReference
	top digest.Digest
}

// NewImageSource opens the image.
func (u *unchanged) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	src, err := u.ImageReference.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	raw, _, err := sources.Truthful(ctx, src).GetManifest(ctx, nil) // Sources keep it.
	if err == nil && digest.FromBytes(raw) != u.top {
		err = fmt.Errorf("the image has changed since it was checked: its manifest or index was %s, and is %s", u.top, digest.FromBytes(raw))
	}
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return src, nil
}
