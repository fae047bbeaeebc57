package copying

import (
	"context"

	"github.com/dockerarchive/dockerarchive/podman/copying/internal/saving"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

// Add is Save to an archive that is there, which is changed in place, as
// dockerarchive.OpenWriter says. Its own layout decides how images are stored:
// options.Transport and SkipDockerManifest say nothing. Blobs that it has are not
// fetched; of an archive that holds layers uncompressed, configs tell which those are.
// A name that an image has moves to the one that is added under it. If nothing is new,
// no byte of the file changes.
//
// An error means that the archive is what it was, unless it is ErrImagesLeftOut.
func Add(ctx context.Context, policyContext *signature.PolicyContext, path string, images []SaveImage, options *SaveOptions) ([]SaveResult, error) {
	if options == nil {
		options = &SaveOptions{}
	}
	o := options.saving(policyContext)
	o.Transport, o.SkipDockerManifest = nil, false
	results, err := saving.Add(ctx, path, wanted(images), o, options.Wait, options.KeepUntagged)
	return saveResults(results), err
}

// ChangeOptions are the options of Remove and Compact; nil and the zero value will do.
type ChangeOptions struct {
	// Ctx is for reading and writing the archive.
	Ctx *types.SystemContext
	// NoSync leaves it to the system when what is written gets to the disk.
	NoSync bool
	// Wait waits, as long as the context lasts, for others who change the archive.
	// Otherwise the error wraps errdef.ErrBusy.
	Wait bool
}

// Remove takes names away from the archive at path, and with its last name an image;
// @N is the image at that position, with all its names. A new table of contents is
// written, in place, and nothing else: Compact gives the space back. The error is an
// *errdef.NoImageError for what is not there.
func Remove(ctx context.Context, path string, names []string, options *ChangeOptions) error {
	return saving.Remove(ctx, path, names, options.change())
}

// Compact writes the archive at path again, without what no image refers to: as one
// Save of its images, in their order, would have written it. It takes the place of the
// old one when it is complete.
func Compact(ctx context.Context, policyContext *signature.PolicyContext, path string, options *ChangeOptions) error {
	return saving.Compact(ctx, policyContext, path, options.change())
}

func (o *ChangeOptions) change() saving.ChangeOptions {
	if o == nil {
		return saving.ChangeOptions{}
	}
	return saving.ChangeOptions(*o)
}
