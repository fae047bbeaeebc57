package copying

import (
	"context"
	"testing"
	"time"

	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/copying/internal/imagecopy"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// CopyInRangesOf is a part of Copy: it copies an image, reads blobs in ranges of size
// bytes, and reads broken ones again so often without waiting. Size 0 means no ranges. It
// does not copy again without them.
func CopyInRangesOf(ctx context.Context, policy *signature.PolicyContext, dest, src types.ImageReference, options *copy.Options, size, times int) error {
	ranges := &imagecopy.Ranges{Size: size, Patience: TestPatience, Retries: sources.Retries(times, time.Nanosecond)}
	if size == 0 {
		ranges = nil
	}
	_, err := imagecopy.Once(ctx, imagecopy.Job{Policy: policy, Dest: dest, Source: src, Options: options, NoSync: true}, ranges)
	return err
}

// InRangesOf has blobs read in ranges of a size, in bytes.
func (o *Reading) InRangesOf(size int) { o.rangeSize, o.patience = size, TestPatience }

// ReadInRangesOf has Copy read ranges of a size, in bytes, while a test runs.
func ReadInRangesOf(t *testing.T, size int) {
	real := imagecopy.AsSave
	t.Cleanup(func() { imagecopy.AsSave = real })
	imagecopy.AsSave = &imagecopy.Ranges{Size: size, Patience: TestPatience, Retries: real.Retries}
}

// TestPatience is how long the lines of tests show their rate.
const TestPatience = 5 * time.Millisecond

// ErrWrong is found in the error of a copy whose ranges may be to blame.
var ErrWrong = imagecopy.ErrWrongRanges

// RetryAtOnce lets retries not wait.
func (o *Reading) RetryAtOnce() { o.RetryDelay = time.Nanosecond }

// Adding returns the same options for Add, as far as it has them.
func (o *SaveOptions) Adding() *AddOptions {
	return &AddOptions{Reading: o.Reading, Selection: o.Selection, KeepGoing: o.KeepGoing, DestinationCtx: o.DestinationCtx, NoSync: o.NoSync}
}
