package pushing

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/stall"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// putManifest puts a manifest or an index under a name.
func (s *sender) putManifest(ctx context.Context, img *pushedImage, document *image.Document, name reference.Named) error {
	m := registries.Manifest{Raw: document.Raw, MediaType: document.Descriptor.MediaType, Digest: document.Descriptor.Digest}
	return s.retry(ctx, img, "", func() error {
		return stall.Ask(ctx, s.waiting, func(ctx context.Context, w *stall.Watch) error {
			w.Patient()
			return s.client.PutManifest(ctx, name, m)
		})
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

// newRepository returns the repository of a name in a registry. It must be closed.
func newRepository(s *sender, target reference.Named) (*repository, error) {
	name := reference.TrimNamed(target)
	ref, err := docker.NewReference(target)
	if reference.IsNameOnly(target) {
		ref, err = docker.NewReference(reference.TagNameOnly(target)) // It is asked for blobs only.
	}
	if err != nil {
		return nil, err
	}
	return &repository{sender: s, ref: ref, name: name}, nil
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
