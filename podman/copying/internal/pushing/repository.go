package pushing

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/stall"
)

func (r *repository) putManifest(ctx context.Context, img *pushedImage, document *image.Document, instance *digest.Digest) error {
	return r.do(ctx, img, "", func(ctx context.Context, w *stall.Watch, dest types.ImageDestination) error {
		w.Patient()
		return dest.PutManifest(ctx, document.Raw, instance)
	})
}

// repository is where something is sent.
type repository struct {
	*sender
	ref  types.ImageReference
	name reference.Named

	mu     sync.Mutex
	dest   types.ImageDestination // nil before it is needed, and after something failed
	opened []types.ImageDestination
}

// do calls f with a destination, again and with a new one if it fails for a reason that
// may pass: one of containers/image that could not reach its registry at first never
// tries again.
func (r *repository) do(ctx context.Context, img *pushedImage, blob digest.Digest, f func(context.Context, *stall.Watch, types.ImageDestination) error) error {
	return r.retry(ctx, img, blob, func() error {
		dest, err := r.open(ctx)
		if err == nil {
			err = stall.Ask(ctx, r.waiting, func(ctx context.Context, w *stall.Watch) error { return f(ctx, w, dest) })
		}
		if err != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.dest == dest {
				r.dest = nil
			}
		}
		return err
	})
}

func (r *repository) open(ctx context.Context) (types.ImageDestination, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dest == nil {
		dest, err := r.ref.NewImageDestination(ctx, r.options.DestinationCtx)
		if err != nil {
			return nil, err
		}
		r.dest, r.opened = dest, append(r.opened, dest)
	}
	return r.dest, nil
}

func (r *repository) close() {
	for _, dest := range r.opened {
		_ = dest.Close() // Everything has been answered.
	}
}
