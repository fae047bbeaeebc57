package copying

import (
	"context"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
)

// SaveImage is an image for Save.
type SaveImage struct {
	// Source is where the image comes from, in any transport.
	Source types.ImageReference
	// SourceCtx, if not nil, is for reading this image instead of the SourceCtx of options.
	SourceCtx *types.SystemContext
	// Name is the name of the image in the archive; nil for no name. A digest in it
	// must be that of the image, or of the index it is chosen from.
	Name reference.Named
	// Names are its other names, in their order.
	Names []reference.Named
	// FreeName is a name that is no reference, such as V1.0_RC. Only an image-archive
	// keeps it; Name must be nil.
	FreeName string
	// Whole saves an index as it is, with all of it that the source has, and warns of
	// the rest. It is for images that are complete although a part of their index is
	// missing, as in archives. It has no effect if the layout holds one platform of an
	// image, or if Selection chooses platforms.
	Whole bool
	// Found says that the names are those that an archive has. A name with a digest that is
	// not the image's then keeps only its tag, and a warning says so. Otherwise it is an
	// error.
	Found bool
	// Referrer says that an archive has it as a referrer to another image, such as a
	// signature. It is for callers; nothing here depends on it.
	Referrer bool
	// Platform, if not nil, is chosen from the image instead of Selection.Platforms.
	// AllPlatforms still takes all.
	Platform *imgspecv1.Platform
}

// AllNames returns the names of the image in the archive, each once, in the order of
// the archive.
func (i *SaveImage) AllNames() []string { return (*selecting.Wanted)(i).AllNames() }

func wanted(images []SaveImage) []selecting.Wanted {
	all := make([]selecting.Wanted, len(images))
	for n, img := range images {
		all[n] = selecting.Wanted(img)
	}
	return all
}

func saveImages(found []selecting.Wanted) []SaveImage {
	if found == nil {
		return nil
	}
	images := make([]SaveImage, len(found))
	for n, img := range found {
		images[n] = SaveImage(img)
	}
	return images
}

// Images returns the images that names mean, for Save, Push or Load: each is a reference of
// containers/image, such as image-archive:app.tar or docker-daemon:app:1, or the name of an
// image in a registry. A name may mean several images, as AllImages says. They can be read
// until release is called, which is never nil.
func Images(ctx context.Context, sys *types.SystemContext, names ...string) (images []SaveImage, release func() error, err error) {
	found, release, err := selecting.Named(ctx, sys, names)
	return saveImages(found), release, err
}

// AllImages returns the images that a reference means, for Save. A reference to an
// archive of any tool, or to an OCI image layout, that does not choose an image means
// all: each in its turn, once for every name that it has, and Whole. Any other
// reference means one image, under its name there or, in other transports, under that
// of the reference.
//
// An archive, which may come from a pipe, is opened once, and its images can be read
// until release is called. release is never nil.
func AllImages(ctx context.Context, sys *types.SystemContext, ref types.ImageReference) (images []SaveImage, release func() error, err error) {
	found, release, err := selecting.All(ctx, sys, ref)
	return saveImages(found), release, err
}

// AllTags returns the images of a repository, for Save: each under its tag, in the
// order of the tags as strings. The transport says where they are: in a registry, as
// that of docker://, or in a Docker daemon, as that of docker-daemon:. A repository
// without tags is an error, and so is one with more than 10,000; if they cannot be
// listed, the error is a *RepositoryError.
func AllTags(ctx context.Context, sys *types.SystemContext, transport types.ImageTransport, repository reference.Named) ([]SaveImage, error) {
	found, err := selecting.Tags(ctx, sys, transport, repository)
	return saveImages(found), err
}

// RepositoryError means that the tags of a repository could not be listed.
type RepositoryError = selecting.RepositoryError

// ChoosePlatform returns the digest of the manifest that sys, which may be nil, chooses
// from the index of src, or nil if the image has a manifest and no index. If the index
// has none for that platform, the error is an *errdef.NoPlatformError with those that
// it has.
func ChoosePlatform(ctx context.Context, sys *types.SystemContext, src types.ImageSource) (*digest.Digest, error) {
	return selecting.ChoosePlatform(ctx, sys, src)
}
