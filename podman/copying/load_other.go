package copying

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/copying/internal/loading"
)

// ContentStore keeps blobs by their digests, and names for them, as containerd does.
// Package copying/containerd has the one of containerd.
type ContentStore interface {
	// Has reports whether there is a blob. A blob that is there must stay as long as the
	// store is open.
	Has(ctx context.Context, d digest.Digest) (bool, error)
	// Receive takes the blobs of an OCI image layout in a tar archive, which lacks layers.
	Receive(ctx context.Context, archive io.Reader) error
	// Refer records which blobs a document needs. Some may not be there.
	Refer(ctx context.Context, document digest.Digest, to []digest.Digest) error
	// Name makes a name stand for a manifest or an index.
	Name(ctx context.Context, name string, target imgspecv1.Descriptor) error
	// Unpack makes an image ready to be run.
	Unpack(ctx context.Context, config digest.Digest, layers []imgspecv1.Descriptor, diffIDs []digest.Digest) error
}

// ErrIncomplete is the error of LoadContent if a blob that was there, or was sent, is missing
// again.
var ErrIncomplete = loading.ErrIncomplete

// LoadContentOptions are the options of LoadContent. The zero value will do.
type LoadContentOptions struct {
	Reading

	// DestinationCtx has the directory for temporary files; nothing else of it counts.
	DestinationCtx *types.SystemContext
	// Platforms chooses from images that are an index. By default the store gets all of it
	// that the source has, and unpacks the image for this machine.
	Platforms []imgspecv1.Platform
	// NoUnpack leaves images packed.
	NoUnpack bool
}

// LoadContent puts images, usually those of archives, into a content store, under their
// names; one without a name is called import@DIGEST. Layers that the store has are not
// sent. If one is removed meanwhile, it is sent after all. An image gets its name when
// the store has all of it that its source has; then it is unpacked.
//
// Every manifest and config is read, and accepted by the policy, before anything is sent.
func LoadContent(ctx context.Context, policy *signature.PolicyContext, images []SaveImage, store ContentStore, options *LoadContentOptions) (*Loaded, error) {
	o := orZero(options)
	return under(policy, o.SourceCtx, func(policy *signature.PolicyContext) (*Loaded, error) {
		loads := loading.Options{Select: o.Reading.options(ctx, policy), DestinationCtx: o.DestinationCtx, NoUnpack: o.NoUnpack}
		loads.Select.Platforms = o.Platforms
		done, err := loading.Content(ctx, wanted(images), store, loads)
		return loaded(done), err
	})
}

// LoadIntoOptions are the options of LoadInto. The zero value will do.
type LoadIntoOptions struct {
	Reading

	// DestinationCtx is for where the images go.
	DestinationCtx *types.SystemContext
	// Platform chooses from images that are an index. By default that is this machine's.
	Platform *imgspecv1.Platform
}

// LoadInto puts images, usually those of archives, where containers/image can put them one
// by one and layers are kept for all, such as the storage of podman and CRI-O: that leaves
// out layers that are there. place returns the reference of an image: for each of its
// names or, if it has none, for the digest of its config. The ID of an image that LoadInto
// returns is that digest.
//
// Every manifest and config is read, and accepted by the policy, before anything is copied.
func LoadInto(ctx context.Context, policy *signature.PolicyContext, images []SaveImage, place func(name reference.NamedTagged, config digest.Digest) (types.ImageReference, error), options *LoadIntoOptions) (*Loaded, error) {
	o := orZero(options)
	return under(policy, o.SourceCtx, func(policy *signature.PolicyContext) (*Loaded, error) {
		loads := loading.Options{Select: o.Reading.options(ctx, policy), DestinationCtx: o.DestinationCtx}
		if o.Platform != nil {
			loads.Select.Platforms = []imgspecv1.Platform{*o.Platform}
		}
		done, err := loading.Into(ctx, wanted(images), place, loads)
		return loaded(done), err
	})
}
