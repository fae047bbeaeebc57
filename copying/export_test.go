package copying

import "time"

// RetryAtOnce lets retries not wait.
func (o *SaveOptions) RetryAtOnce() { o.retryDelay = time.Nanosecond }

// RetryAtOnce lets retries not wait.
func (o *PushOptions) RetryAtOnce() { o.retryDelay = time.Nanosecond }

// InRangesOf has blobs read in ranges of a size, in bytes.
func (o *SaveOptions) InRangesOf(size int) { o.rangeSize = size }

// For tests of how ranges are read.
var (
	NewBlobSource = newBlobSource
	Watched       = watched
	IsRanger      = isRanger
	IsBusy        = isBusy
	Concurrently  = concurrently
)

// RetryAtOnce lets retries not wait.
func (o *LoadOptions) RetryAtOnce() { o.retryDelay = time.Nanosecond }
