package copying

import (
	"context"
	"time"

	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/copying/internal/imagecopy"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
	"github.com/dockerarchive/dockerarchive/progress"
)

// CopyOptions are the options of Copy. The zero value will do.
type CopyOptions struct {
	// Options are those of copy.Image of containers/image. Its Progress is told too.
	Options copy.Options
	// NoSync is as dockerarchive.WriterOptions.NoSync, if the destination is an archive.
	NoSync bool
	// Progress, if not nil, gets the events Started, Read and Finished for blobs, and
	// Waiting for a registry. It is called concurrently, and must return soon.
	Progress func(progress.Event)
}

// Copy copies an image with copy.Image of containers/image, and speeds that up: it
// tells an archive in advance which layers will come, so that each is written where it
// stays even if several are copied at the same time; it reads local sources
// concurrently too, which copy.Image reads one blob after the other; and it reads large
// blobs of registries in ranges, as Save does.
//
// It returns the manifest of the image, and the errors of copy.Image and
// dockerarchive.NewWriterContext, and an *errdef.NoPlatformError if there is no
// image for the platform that options.Options.SourceCtx asks for. If it fails, there is
// no new archive, and Retry does not try again to write to a pipe.
func Copy(ctx context.Context, policy *signature.PolicyContext, dest, source types.ImageReference, options *CopyOptions) ([]byte, error) {
	o := orZero(options)
	return under(policy, o.Options.SourceCtx, func(policy *signature.PolicyContext) ([]byte, error) {
		return imagecopy.Copy(ctx, imagecopy.Job{Policy: policy, Dest: dest, Source: source, Options: &o.Options, NoSync: o.NoSync, Progress: o.Progress})
	})
}

// Retry calls f until it succeeds, fails for a reason that will not pass, or has been tried
// again so many times, and returns its last error. Before every further attempt it waits for
// delay, or for as long as a registry asks to if that is longer; 0 is a second, and twice as
// long each time. announce, if not nil, is called with an error before the wait. Errors of
// the network, broken connections and the statuses of a registry that is overloaded may
// pass. When ctx ends during a wait, its cause is returned together with the error.
func Retry(ctx context.Context, times int, delay time.Duration, announce func(error), f func() error) error {
	return sources.Retries(times, delay).Do(ctx, announce, f)
}
