package copying

import (
	"context"
	"time"

	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

// CopyInRangesOf is a part of Copy: it copies an image of which blobs are read in ranges
// of a size, in bytes, and broken ones again so often without waiting; in none if size is
// 0. It does not copy again without them.
func CopyInRangesOf(ctx context.Context, policy *signature.PolicyContext, dest, src types.ImageReference, options *copy.Options, size, times int) error {
	r := &ranging{size: size, retries: retryPolicy(times)}
	r.retries.Delay = time.Nanosecond
	c := newCopier(policy, dest, src, CopyExtras{NoSync: true})
	if c.ranges = r; size == 0 {
		c.ranges = nil
	}
	_, err := c.copyWatched(ctx, options)
	return err
}

// RetryAtOnce lets retries not wait.
func (o *SaveOptions) RetryAtOnce() { o.RetryDelay = time.Nanosecond }

// RetryAtOnce lets retries not wait.
func (o *PushOptions) RetryAtOnce() { o.RetryDelay = time.Nanosecond }

// InRangesOf has blobs read in ranges of a size, in bytes.
func (o *SaveOptions) InRangesOf(size int) { o.rangeSize = size }

// For tests of how ranges are read.
var (
	NewBlobSource = newBlobSource
	IsRanger      = isRanger
	IsBusy        = isBusy
	ErrWrong      = errWrongRanges
	OnlySimple    = hasOnlySimpleSignatures
	Concurrently  = concurrently
)

// RetryAtOnce lets retries not wait.
func (o *LoadOptions) RetryAtOnce() { o.RetryDelay = time.Nanosecond }
