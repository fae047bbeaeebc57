package copying

import (
	"context"
	"time"

	"go.podman.io/image/v5/copy"

	"github.com/dockerarchive/dockerarchive/podman/copying/internal/imagecopy"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
	"github.com/dockerarchive/dockerarchive/progress"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

// Copy copies an image with copy.Image of containers/image, and makes the most
// of what this module can do: an archive is told in advance which layers will
// come, so that each is written where it stays even if several are copied at the
// same time; local sources, which copy.Image reads one blob after the other,
// are read concurrently too; and large blobs of registries come in ranges, as for Save.
//
// It returns the manifest of the image, and the errors of copy.Image and
// dockerarchive.NewWriterContext, and an *errdef.NoPlatformError if there is no
// image for the platform that options.SourceCtx asks for. If it fails, an archive
// that was to be made is not there, and Retry does not try again what went into a pipe.
func Copy(ctx context.Context, policyContext *signature.PolicyContext, destRef, srcRef types.ImageReference, options *copy.Options) ([]byte, error) {
	return CopyWith(ctx, policyContext, destRef, srcRef, options, CopyExtras{})
}

// CopyExtras are what CopyWith can that has no place in the options of containers/image.
// The zero value asks for nothing.
type CopyExtras struct {
	// NoSync is for an archive what dockerarchive.WriterOptions.NoSync says.
	NoSync bool
	// Progress, if not nil, is told of what is Started, Read and Finished, and of Waiting
	// for a registry. It is called concurrently, and must return soon.
	Progress func(progress.Event)
}

// CopyWith is Copy with more.
func CopyWith(ctx context.Context, policyContext *signature.PolicyContext, destRef, srcRef types.ImageReference, options *copy.Options, extras CopyExtras) ([]byte, error) {
	return imagecopy.Copy(ctx, imagecopy.Job{
		Policy: policyContext, Dest: destRef, Source: srcRef, Options: options, NoSync: extras.NoSync, Progress: extras.Progress,
	})
}

// Retry calls f until it succeeds, fails for a reason that will not pass, or has
// been tried again so many times, and returns its last error. It waits a second
// before the second attempt and doubles that for further ones. announce, if not
// nil, is called with an error before the wait. Errors of the network, broken
// connections and the statuses of a registry that is overloaded may pass. When
// ctx ends during a wait, its cause is returned together with the error.
func Retry(ctx context.Context, times int, announce func(error), f func() error) error {
	return RetryEvery(ctx, times, 0, announce, f)
}

// RetryEvery is Retry that waits for delay before every further attempt, or for as long as
// a registry asks to if that is longer. A delay of 0 is that of Retry.
func RetryEvery(ctx context.Context, times int, delay time.Duration, announce func(error), f func() error) error {
	return sources.Retries(times, delay).Do(ctx, announce, f)
}
