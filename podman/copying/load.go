package copying

import (
	"context"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/copying/internal/loading"
)

// LoadOptions are the options of Load. The zero value will do.
type LoadOptions struct {
	Reading

	// DestinationCtx has the certificates for the daemon and the directory for temporary
	// files; nothing else of it counts.
	DestinationCtx *types.SystemContext
	// Host is where the Docker daemon is, as in unix://PATH, tcp://HOST:PORT or ssh://HOST,
	// and Context the name of a context of the docker command. With neither it is found as
	// that command finds it.
	Host, Context string
	// Platforms chooses from images that are an index. By default a daemon with the
	// containerd store gets all platforms that the source has, another one the platform
	// that it runs.
	Platforms []imgspecv1.Platform
	// Full sends all layers, even those that the daemon has.
	Full bool
}

// Loaded is the result of Load.
type Loaded struct {
	// Images are those that were given, in their order.
	Images []LoadedImage
	// Sent and LeftOut are the bytes of the archives that were sent, and of the layers
	// that the daemon had.
	Sent, LeftOut int64
}

// LoadedImage is the result for an image.
type LoadedImage struct {
	SaveImage
	// ID is the daemon's ID of the image: the digest of its config or, where containerd
	// keeps the images, of its manifest or index.
	ID digest.Digest
	// Skipped says why the image was not sent, if Docker could not run it.
	Skipped string
	// Warnings are other facts about the image.
	Warnings []string
}

// ErrNotLoaded is the error of Load if the daemon reported no error, and has not got the
// image.
var ErrNotLoaded = loading.ErrNotLoaded

// Load puts images, usually those of archives, into a Docker daemon, under their names.
// It does not send layers of images that the daemon has, if they have the same layers
// below. If the daemon does not accept that, as when something was removed from it
// meanwhile, Load sends everything. In the end the daemon is asked whether it has the
// images.
//
// Every manifest and config is read, and accepted by the policy, before anything is sent.
// Layers are verified as they are sent; the table of contents, without which the daemon
// makes no image, comes last. Each source is opened once, so that exactly the checked
// images are sent.
//
// Progress gets Planned with the Size to be sent, Read with more Bytes, and Retried with
// the reason why everything is sent after all; then it begins anew.
func Load(ctx context.Context, policy *signature.PolicyContext, images []SaveImage, options *LoadOptions) (*Loaded, error) {
	o := orZero(options)
	return under(policy, o.SourceCtx, func(policy *signature.PolicyContext) (*Loaded, error) {
		loads := loading.Options{Select: o.Reading.options(ctx, policy), DestinationCtx: o.DestinationCtx, Host: o.Host, Context: o.Context, Full: o.Full}
		loads.Select.Platforms = o.Platforms
		done, err := loading.Daemon(ctx, wanted(images), loads)
		return loaded(done), err
	})
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
