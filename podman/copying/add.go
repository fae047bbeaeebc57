package copying

import (
	"context"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/copying/internal/saving"
)

// AddOptions are the options of Add. The zero value will do.
type AddOptions struct {
	Reading
	Selection

	// KeepGoing leaves out images that cannot be added.
	KeepGoing bool
	// DestinationCtx is for reading and writing the archive.
	DestinationCtx *types.SystemContext
	// NoSync leaves it to the system when the archive gets to the disk.
	NoSync bool
	// Wait waits, as long as the context lasts, for other processes that change the
	// archive. Otherwise the error wraps errdef.ErrBusy.
	Wait bool
	// KeepUntagged keeps an image in the table of contents that loses its last name, as an
	// image without one.
	KeepUntagged bool
}

// Add is Save to an existing archive, which it changes in place, as
// dockerarchive.OpenWriter does. The archive's layout decides how images are stored. Blobs
// that it has are not fetched; if it holds layers uncompressed, configs tell which those
// are. A name of an old image moves to a new image that is added under it. If nothing is
// new, no byte of the file changes.
//
// After an error other than ErrImagesLeftOut the archive is unchanged.
func Add(ctx context.Context, policy *signature.PolicyContext, path string, images []SaveImage, options *AddOptions) ([]SaveResult, error) {
	o := orZero(options)
	return under(policy, o.SourceCtx, func(policy *signature.PolicyContext) ([]SaveResult, error) {
		selects := o.choose(o.Reading.options(ctx, policy))
		selects.KeepGoing = o.KeepGoing
		adds := saving.Options{Select: selects, DestinationCtx: o.DestinationCtx, NoSync: o.NoSync}
		results, err := saving.Add(ctx, path, wanted(images), adds, o.Wait, o.KeepUntagged)
		return resultsOf(results), err
	})
}

// ChangeOptions are the options of Tag and Compact; nil and the zero value will do.
type ChangeOptions struct {
	// Ctx is for reading and writing the archive.
	Ctx *types.SystemContext
	// NoSync leaves it to the system when the archive gets to the disk.
	NoSync bool
	// Wait waits, as long as the context lasts, for other processes that change the
	// archive. Otherwise the error wraps errdef.ErrBusy.
	Wait bool
}

// RemoveOptions are the options of Remove; nil and the zero value will do.
type RemoveOptions struct {
	ChangeOptions
	// KeepReferrers keeps signatures, SBOMs and other referrers of images that are
	// removed.
	KeepReferrers bool
}

// Remove takes names away from the archive at path; @N is the image at that position,
// with all its names. An image goes with its last name, and so do the referrers that are
// about no other image. It returns the digests of these referrers. A new table of
// contents is written, in place, and nothing else: Compact gives the space back. The
// error is an *errdef.NoImageError for a name or position that is not there.
func Remove(ctx context.Context, path string, names []string, options *RemoveOptions) ([]digest.Digest, error) {
	o := orZero(options)
	return saving.Remove(ctx, path, names, o.KeepReferrers, saving.ChangeOptions(o.ChangeOptions))
}

// Tag gives an image in the archive at path one more name, or with rename that name instead
// of the old one. image is a name that it has, or @N for the image at a position; an image
// without a name can only be called so. Only a new table of contents is written, in place.
// It returns warnings. The error is an *errdef.NoImageError for an image that is not there;
// a name of another image is refused.
func Tag(ctx context.Context, path, image string, name reference.NamedTagged, rename bool, options *ChangeOptions) (warnings []string, err error) {
	return saving.Tag(ctx, path, image, name.String(), rename, saving.ChangeOptions(orZero(options)))
}

// Compact writes the archive at path again, without blobs that no image refers to: as
// one Save of its images, in their order, would have written it. It takes the place of
// the old one when it is complete.
func Compact(ctx context.Context, policy *signature.PolicyContext, path string, options *ChangeOptions) error {
	o := orZero(options)
	_, err := under(policy, o.Ctx, func(policy *signature.PolicyContext) (struct{}, error) {
		return struct{}{}, saving.Compact(ctx, policy, path, saving.ChangeOptions(o))
	})
	return err
}
