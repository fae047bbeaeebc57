package selecting

import (
	"context"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/daemon"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// daemonImage is a Docker daemon's description of an image.
type daemonImage struct{ daemon.Image }

// Origin returns the parent of the image with a config. It has none where the ID is not
// the digest of the config: there the daemon restores none either.
func (i daemonImage) Origin(config digest.Digest) image.Origin {
	if i.ID != config {
		return image.Origin{}
	}
	return image.Origin{Parent: i.Parent}
}

// askParents asks Docker daemons for the parents of their images. A daemon that saves one
// image alone, as here, does not write its parent.
func (s *Selection) askParents(ctx context.Context) error {
	var given []*Image
	for img := range s.Good() {
		if img.origins == nil && img.Source.Transport().Name() == sources.DockerDaemon {
			given = append(given, img)
		}
	}
	if len(given) < 2 { // A parent must be saved too.
		return nil
	}
	var g errgroup.Group
	g.SetLimit(s.options.Jobs)
	for _, img := range given {
		g.Go(func() error {
			told, err := daemon.Inspect(ctx, sources.DaemonConfig(s.sourceCtx(img)), img.Source.StringWithinTransport())
			if err != nil {
				img.Warn("whether it was built on another of the images is not known: %v", err)
				return ctx.Err()
			}
			img.origins = daemonImage{told}
			return ctx.Err()
		})
	}
	return g.Wait()
}
