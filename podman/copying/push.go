package copying

import (
	"context"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/copying/internal/pushing"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
)

// PushImage is an image for Push.
type PushImage struct {
	// SaveImage is an image as AllImages returns it. Its names have no effect.
	SaveImage
	// Targets are the names that the image gets in registries. Each has a tag; one with
	// a digest, which must be that of the image, has no tag. With no target, a referrer
	// is put into the repositories of its subjects, under its digest. One with a tag
	// that names its subject, such as a signature of cosign's, is put there under that
	// tag.
	Targets []reference.Named
	// Otherwise is the target of an image that has none and is about no other.
	Otherwise reference.Named
}

// LayerCompression is how the layers of an image are compressed that has to get a
// manifest, because its archive has none.
type LayerCompression int

// The compressions.
const (
	// GzipLayers makes a manifest of Docker's schema 2.
	GzipLayers LayerCompression = iota
	// ZstdLayers makes a manifest of OCI's, which alone has these.
	ZstdLayers
)

// PushOptions are the options of Push. The zero value will do.
type PushOptions struct {
	Reading

	// DestinationCtx is for the registries.
	DestinationCtx *types.SystemContext
	// Platforms chooses from images that are an index, as Selection.Platforms does. By
	// default an index is pushed as it is, with all of it that its source has.
	Platforms []imgspecv1.Platform
	// Compression is used where the source has a config and uncompressed layers, and no
	// manifest. The same image gets the same digest every time.
	Compression LayerCompression
	// ChunkSize, if it is not 0, is how many bytes of a blob go into one request at most, for
	// registries behind a proxy that limits them. A registry may want larger ones.
	ChunkSize int64
	// KeepGoing goes on with the other images when one cannot be pushed.
	KeepGoing bool
	// DryRun asks which blobs and images are there, and sends nothing.
	DryRun bool
	// Planned, if not nil, is called before anything is sent, with the images to push
	// and their names. Its error is returned by Push.
	Planned func([]PushResult) error
}

// PushResult is the result for an image.
type PushResult struct {
	PushImage // Targets include those that were found
	// Digest is that of the manifest or index, empty if it could not be read, or is not
	// known before the layers are compressed.
	Digest digest.Digest
	// UpToDate is set if the registry had the image under all names.
	UpToDate bool
	// Sent and There are the bytes of blobs that were sent, or would be in a DryRun, and
	// of those that the registry had, or had got with another image.
	Sent, There int64
	// Warnings are other facts about the image.
	Warnings []string
	// Err says why the image was not pushed. It is a *errdef.ImageError.
	Err error
}

// ErrNotAllPushed is the error of Push if it kept going, and results say why some images
// were not pushed.
var ErrNotAllPushed = pushing.ErrLeftOut

// ErrNotPushed is the error of an image that a registry took without an error, and has
// not got under its name.
var ErrNotPushed = pushing.ErrNotPushed

// Push copies images, usually those of archives, to registries. Manifests and indexes
// stay as they are, byte for byte; an image without a manifest gets one. Push does not
// send images that a registry has under their names, nor blobs that it has in any of the
// repositories that Push puts something in. Each distinct blob is sent to a registry
// once, and verified as it is read. An image appears under its name when all of it is
// there, so that a Push that was interrupted can be repeated; then the registry is asked
// whether it is.
//
// Every manifest is read, and accepted by the policy, before anything is sent. Several
// images are pushed at the same time; referrers, such as signatures, after their subjects.
// A registry without the referrers API lists them under the referrers tag. Push returns a
// result for each image, in their order.
func Push(ctx context.Context, policy *signature.PolicyContext, images []PushImage, options *PushOptions) ([]PushResult, error) {
	all := make([]pushing.Wanted, len(images))
	for n, img := range images {
		all[n] = pushing.Wanted{Wanted: selecting.Wanted(img.SaveImage), Targets: img.Targets, Otherwise: img.Otherwise}
	}
	o := orZero(options)
	return under(policy, o.SourceCtx, func(policy *signature.PolicyContext) ([]PushResult, error) {
		results, err := pushing.Push(ctx, all, o.pushing(ctx, policy))
		return pushResults(results), err
	})
}

func (o *PushOptions) pushing(ctx context.Context, policy *signature.PolicyContext) pushing.Options {
	selects := o.Reading.options(ctx, policy)
	selects.Platforms, selects.KeepGoing = o.Platforms, o.KeepGoing
	p := pushing.Options{Select: selects, DestinationCtx: o.DestinationCtx, Zstd: o.Compression == ZstdLayers, DryRun: o.DryRun, ChunkSize: o.ChunkSize}
	if o.Planned != nil {
		p.Planned = func(results []pushing.Result) error { return o.Planned(pushResults(results)) }
	}
	return p
}

func pushResults(done []pushing.Result) []PushResult {
	if done == nil {
		return nil
	}
	results := make([]PushResult, len(done))
	for n, r := range done {
		results[n] = PushResult{
			PushImage: PushImage{SaveImage: SaveImage(r.Image.Wanted), Targets: r.Image.Targets, Otherwise: r.Image.Otherwise},
			Digest:    r.Digest, UpToDate: r.UpToDate, Sent: r.Sent, There: r.There, Warnings: r.Warnings, Err: r.Err,
		}
	}
	return results
}

// PushTo returns images for Push under their own names in a registry, as PushTarget makes
// them. An image without a name is pushed only if it is about another of the images.
func PushTo(registry string, images []SaveImage) ([]PushImage, error) {
	var to []PushImage
	for _, img := range images {
		if n := len(to); n == 0 || to[n-1].Source != img.Source {
			to = append(to, PushImage{SaveImage: img})
		}
		pushed := &to[len(to)-1]
		wanted := selecting.Wanted(img)
		for _, name := range wanted.References() {
			target, err := PushTarget(registry, name, false)
			if err != nil {
				return nil, err
			}
			pushed.Targets = append(pushed.Targets, target)
		}
	}
	return to, nil
}

// PushTarget returns the name of an image in another registry: its own with registry,
// which may have a prefix as in HOST:PORT/PREFIX, instead of the host, or before the host
// if keepHost is set. The host's port then follows a hyphen. A digest in the name is
// dropped if there is a tag; a name with neither gets the tag latest. The host of the
// registry may be an IPv6 address.
func PushTarget(registry string, name reference.Named, keepHost bool) (reference.Named, error) {
	return pushing.Target(registry, name, keepHost)
}
