package sources

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/daemon"
	"github.com/dockerarchive/dockerarchive/internal/image"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

// OpenDaemon opens an image of a Docker daemon with the containerd store, with the manifests,
// digests and compressed layers that the daemon has. It returns nil if the daemon keeps
// images itself, or cannot be asked: containers/image reads these, or says why not. The
// daemon sends all of the image at once, into an unnamed temporary file.
func OpenDaemon(ctx context.Context, sys *types.SystemContext, ref types.ImageReference) (types.ImageSource, error) {
	d, err := daemon.Open(DaemonConfig(sys))
	if err != nil {
		return nil, nil
	}
	defer d.Close()
	kind, err := d.Kind(ctx)
	if err != nil || !kind.Containerd {
		return nil, ctx.Err()
	}
	name := ref.StringWithinTransport()
	if named := ref.DockerReference(); named != nil {
		name = reference.FamiliarString(named)
	}
	exported, whole, err := d.Export(ctx, name)
	if err != nil {
		return nil, err
	}
	reader, err := dockerarchive.NewReaderFrom(ctx, sys, exported)
	if err = errors.Join(err, exported.Close()); err != nil {
		return nil, fmt.Errorf("reading what the docker daemon sends of %s: %w", name, err)
	}
	src, err := exportedImage(ctx, sys, reader, ref)
	if err != nil {
		return nil, errors.Join(err, reader.Close())
	}
	warnOfIndex(ctx, src, name, whole)
	return &daemonSource{archiveSource: src, reader: reader, ref: ref}, nil
}

// warnOfIndex says that the digest of an image is not that in its registry: Docker has sent parts
// of it, and not the index with the digest whole.
func warnOfIndex(ctx context.Context, src types.ImageSource, name string, whole digest.Digest) {
	raw, _, err := src.GetManifest(ctx, nil)
	if err != nil || whole.Validate() != nil || whole.Algorithm().FromBytes(raw) == whole {
		return // Reading the manifest later returns the error.
	}
	logrus.Warnf("%s: the docker daemon sends no index, since it has not got the platform that it runs on: the digest is not %s, but that of the manifest", name, whole)
}

// exportedImage opens the image that was asked for: the one of its name or, if it was asked for
// by its ID, the only one.
func exportedImage(ctx context.Context, sys *types.SystemContext, reader *dockerarchive.Reader, ref types.ImageReference) (archiveSource, error) {
	list, err := reader.List()
	if err != nil {
		return nil, err
	}
	position := -1
	for n, names := range list {
		for _, listed := range names {
			have, want := listed.DockerReference(), ref.DockerReference()
			if want == nil && len(list) == 1 || have != nil && want != nil && have.String() == want.String() {
				position = n
			}
		}
	}
	if position < 0 && len(list) == 1 {
		position = 0
	}
	if position < 0 {
		return nil, fmt.Errorf("the docker daemon sends %d images, and none that is called %s", len(list), ref.StringWithinTransport())
	}
	chosen, err := reader.IndexReference(position)
	if err != nil {
		return nil, err
	}
	src, err := chosen.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	return src.(archiveSource), nil
}

// archiveSource is the source of an archive, with its methods for packages of this module.
type archiveSource interface {
	types.ImageSource
	LeftOut(d digest.Digest) (where image.Elsewhere, ok bool)
	Missing(ctx context.Context, d digest.Digest) error
	Origin(config digest.Digest) image.Origin
	Made(ctx context.Context) bool
}

// daemonSource is an image of a daemon, with all that an archive knows of it.
type daemonSource struct {
	archiveSource
	reader *dockerarchive.Reader
	ref    types.ImageReference
}

// Reference is that of the image in the daemon, which the policy is asked about.
func (s *daemonSource) Reference() types.ImageReference { return s.ref }

// Exported tells it from a source whose manifest is made up.
func (s *daemonSource) Exported() bool { return true }

// Close closes the archive, too.
func (s *daemonSource) Close() error { return errors.Join(s.archiveSource.Close(), s.reader.Close()) }
