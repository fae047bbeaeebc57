package copying

import (
	"context"

	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// AddBase adds the layers of an image to bases, wherever the image is: in a registry, a Docker
// daemon, the storage of podman. Errors call it name. From an index it takes the image for the
// platform that sys asks for, or for this machine's. A layer is read into a temporary file when
// it is needed. Daemons and storages have layers only uncompressed: these are good for deltas
// that were made with SaveOptions.TextOnly or need no more.
//
// The image stays open until release is called, which is never nil.
func AddBase(ctx context.Context, sys *types.SystemContext, to *archive.Bases, name string, ref types.ImageReference) (release func() error, err error) {
	layers, release, err := sources.Layers(ctx, sys, name, ref)
	for _, l := range layers {
		to.AddLayer(l)
	}
	return release, err
}
