package copying

import (
	"context"
	"io"
	"time"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/podman/copying/internal/loading"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
	"github.com/dockerarchive/dockerarchive/progress"
	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

// LoadOptions are the options of Load; the zero value will do.
type LoadOptions struct {
	// SourceCtx is for reading the images. Of DestinationCtx, the certificates for the
	// daemon and the directory for temporary files count.
	SourceCtx, DestinationCtx *types.SystemContext
	// Host is where the Docker daemon is, as in unix://PATH, tcp://HOST:PORT or ssh://HOST, and Context
	// the name of a context of the docker command. With neither it is found as that command
	// finds it.
	Host, Context string
	// Platforms chooses from images that are an index. By default a daemon whose images
	// containerd keeps gets all that is there, and another one the platform that it runs.
	Platforms []imgspecv1.Platform
	// Full sends all, whatever the daemon has.
	Full bool
	// Jobs is how many manifests are read at the same time; 0 means 6.
	Jobs int
	// RetryTimes is how often reading is tried again after an error that may pass.
	RetryTimes int
	// RetryDelay is how long to wait before each further attempt; 0 is a second, and twice
	// as long each time.
	RetryDelay time.Duration
	// Progress, if not nil, is told what happens: Planned with the Size of what will be
	// sent, Read with how many more Bytes have been, and Retried with why all is sent
	// after all, after which it begins anew. It must return soon.
	Progress func(progress.Event)
}

// Loaded is what Load has done.
type Loaded struct {
	// Images are those that were given, in their order.
	Images []LoadedImage
	// Sent and LeftOut are the bytes of the archives that were sent, and of the layers
	// that the daemon had.
	Sent, LeftOut int64
}

// LoadedImage is what became of an image.
type LoadedImage struct {
	SaveImage
	// ID is that by which the daemon knows the image: the digest of its config or, where
	// containerd keeps the images, of its manifest or index.
	ID digest.Digest
	// Skipped says why the image was not sent, if it is none that Docker could run.
	Skipped string
	// Warnings say what else should be known of the image.
	Warnings []string
}

// ErrNotLoaded is the error of Load if the daemon took everything without a word, and has
// not got it.
var ErrNotLoaded = loading.ErrNotLoaded

// Load puts images, usually those of archives, into a Docker daemon, under their names.
// Layers are not sent that belong to images that the daemon has, if they have the same
// layers below. If the daemon does not accept that, as when something was removed from it
// meanwhile, everything is sent. In the end the daemon is asked whether it has the images.
//
// Every manifest and config is read, and accepted by the policy, before anything is sent.
// Layers are verified as they are sent; the table of contents, without which the daemon
// makes no image, comes last.
func Load(ctx context.Context, policyContext *signature.PolicyContext, images []SaveImage, options *LoadOptions) (*Loaded, error) {
	done, err := loading.Daemon(ctx, wanted(images), options.loading(policyContext))
	return loaded(done), err
}

// LoadContent puts images, usually those of archives, into a content store, under their
// names; one without a name is called import@DIGEST. Layers that the store has are not
// sent. If one is removed meanwhile, what is missing then is sent. An image gets its name
// when all of it is there that its source has.
//
// Then images are unpacked unless noUnpack is set: of an index the manifests for
// options.Platforms or, by default, for this machine. The store gets all of an index that
// the source has, or the platforms that are chosen. Host, Context and Full of options
// say nothing. Every manifest and config is read, and accepted by the policy, before anything is sent.
func LoadContent(ctx context.Context, policyContext *signature.PolicyContext, images []SaveImage, store ContentStore, noUnpack bool, options *LoadOptions) (*Loaded, error) {
	o := options.loading(policyContext)
	o.NoUnpack = noUnpack
	done, err := loading.Content(ctx, wanted(images), store, o)
	return loaded(done), err
}

// ContentStore keeps blobs by their digests, and names for them, as containerd does. The
// package copying/containerd has that of containerd.
type ContentStore interface {
	// Has reports whether there is a blob. It is to stay as long as the store is open.
	Has(ctx context.Context, d digest.Digest) (bool, error)
	// Receive takes the blobs of an OCI image layout in a tar archive, which lacks layers.
	Receive(ctx context.Context, archive io.Reader) error
	// Refer records which blobs, not all of which may be there, a document needs.
	Refer(ctx context.Context, document digest.Digest, to []digest.Digest) error
	// Name makes a name stand for a manifest or an index.
	Name(ctx context.Context, name string, target imgspecv1.Descriptor) error
	// Unpack makes an image ready to be run.
	Unpack(ctx context.Context, config digest.Digest, layers []imgspecv1.Descriptor, diffIDs []digest.Digest) error
}

// ErrIncomplete is the error of LoadContent if something is missing again that was there, or was sent.
var ErrIncomplete = loading.ErrIncomplete

// LoadIntoOptions are the options of LoadInto; the zero value will do.
type LoadIntoOptions struct {
	// SourceCtx is for reading the images, DestinationCtx for where they go.
	SourceCtx, DestinationCtx *types.SystemContext
	// Platform chooses from images that are an index. By default that is this machine's.
	Platform *imgspecv1.Platform
	// Progress, if not nil, is told of what is Started, Read and Finished. It is called
	// concurrently, and must return soon.
	Progress func(progress.Event)
}

// LoadInto puts images, usually those of archives, where containers/image can put them one
// by one and layers are kept for all, such as the storage of podman and CRI-O: that leaves
// out layers that are there. place returns what an image gets as its reference: for each
// of its names or, if it has none, for the digest of its config. The ID of an image that
// LoadInto returns is that digest.
//
// Every manifest and config is read, and accepted by the policy, before anything is copied.
func LoadInto(ctx context.Context, policyContext *signature.PolicyContext, images []SaveImage, place func(name reference.NamedTagged, config digest.Digest) (types.ImageReference, error), options *LoadIntoOptions) (*Loaded, error) {
	if options == nil {
		options = &LoadIntoOptions{}
	}
	o := loading.Options{
		Select:         selecting.Options{Policy: policyContext, SourceCtx: options.SourceCtx, Progress: options.Progress},
		DestinationCtx: options.DestinationCtx,
	}
	if options.Platform != nil {
		o.Select.Platforms = []imgspecv1.Platform{*options.Platform}
	}
	done, err := loading.Into(ctx, wanted(images), place, o)
	return loaded(done), err
}

func (o *LoadOptions) loading(policy *signature.PolicyContext) loading.Options {
	if o == nil {
		o = &LoadOptions{}
	}
	return loading.Options{
		Select: selecting.Options{
			Policy: policy, SourceCtx: o.SourceCtx, Platforms: o.Platforms,
			Jobs: o.Jobs, Retries: sources.Retries(o.RetryTimes, o.RetryDelay), Progress: o.Progress,
		},
		DestinationCtx: o.DestinationCtx, Host: o.Host, Context: o.Context, Full: o.Full,
	}
}

func loaded(done *loading.Done) *Loaded {
	if done == nil {
		return nil
	}
	l := &Loaded{Sent: done.Sent, LeftOut: done.LeftOut}
	for _, r := range done.Images {
		l.Images = append(l.Images, LoadedImage{SaveImage: SaveImage(r.Image), ID: r.ID, Skipped: r.Skipped, Warnings: r.Warnings})
	}
	return l
}
