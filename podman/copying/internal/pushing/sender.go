package pushing

import (
	"context"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/stall"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
	"github.com/dockerarchive/dockerarchive/progress"
)

// Options are how images are pushed. See copying.PushOptions for the fields.
type Options struct {
	// Select says how images are read. Its Jobs, Retries, KeepGoing and Progress are for
	// sending too.
	Select         selecting.Options
	DestinationCtx *types.SystemContext
	Zstd           bool // compresses layers so that have to be; else gzip does
	ChunkSize      int64
	DryRun         bool
	Planned        func([]Result) error
}

// sender is the common part of everything that sends.
type sender struct {
	options Options
	waiting func(host string) // is called for a registry that sends nothing
	client  *registries.Client
}

// retry tries something again that failed for a reason that may pass.
func (s *sender) retry(ctx context.Context, img *pushedImage, blob digest.Digest, f func() error) error {
	announce := func(err error) {
		e := progress.Event{Kind: progress.Retried, Blob: blob, Err: err}
		if blob == "" {
			e.Image = transports.ImageName(img.Source)
		}
		s.options.Select.Progress(e)
	}
	return s.options.Select.Retries.Do(ctx, announce, f)
}

// ask sends a request to a registry, and again after an error that may pass, such as no
// answer.
func (s *sender) ask(ctx context.Context, img *pushedImage, f func(context.Context) error) error {
	return s.retry(ctx, img, "", func() error {
		return stall.Ask(ctx, s.waiting, func(ctx context.Context, _ *stall.Watch) error { return f(ctx) })
	})
}

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
