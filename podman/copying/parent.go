package copying

import (
	"context"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/daemon"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// daemonImage is what a Docker daemon knows of one of its images.
type daemonImage struct{ daemon.Image }

// Origin returns the parent of the image with a config. It has none where the ID is not
// the digest of the config: there the daemon restores none either.
func (i daemonImage) Origin(config digest.Digest) image.Origin {
	if i.ID != config {
		return image.Origin{}
	}
	return image.Origin{Parent: i.Parent}
}

// askParents asks Docker daemons on which image those that they gave were built. A daemon
// that saves one image alone, as it is asked to here, does not write it.
func (s *saver) askParents(ctx context.Context) error {
	var given []*savedImage
	for _, img := range s.images {
		if !s.failed(img) && img.origins == nil && img.Source.Transport().Name() == dockerDaemon {
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
			told, err := daemon.Inspect(ctx, daemonConfig(s.sourceCtx(img)), img.Source.StringWithinTransport())
			if err != nil {
				img.warn("whether it was built on another of the images is not known: %v", err)
				return ctx.Err()
			}
			img.origins = daemonImage{told}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// daemonConfig says where the Docker daemon of a context is.
func daemonConfig(sys *types.SystemContext) daemon.Config {
	if sys == nil {
		return daemon.Config{}
	}
	return daemon.Config{Host: sys.DockerDaemonHost, CertDir: sys.DockerDaemonCertPath, InsecureSkipVerify: sys.DockerDaemonInsecureSkipTLSVerify}
}
