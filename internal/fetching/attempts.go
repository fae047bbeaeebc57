package fetching

import (
	"context"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/progress"
)

// worthwhile is the divisor of the part of a range that an attempt must bring, so that
// the next follows at once and has as many retries as the first had.
const worthwhile = 4

// attempts decides on trying again for a part of a blob. It must not be used concurrently.
type attempts struct {
	f       *Fetcher
	blob    v1.Descriptor
	backoff *retry.Backoff
}

func newAttempts(f *Fetcher, blob v1.Descriptor) *attempts {
	return &attempts{f: f, blob: blob, backoff: f.options.Backoff()}
}

// next returns nil when it is time to go on at an offset, after an attempt that brought so
// many bytes before it failed with err.
func (a *attempts) next(ctx context.Context, err error, brought, offset int64) error {
	enough := brought >= int64(a.f.options.RangeSize/worthwhile)
	return a.backoff.Resume(ctx, err, enough, func(err error) { a.announce(err, offset) })
}

func (a *attempts) announce(err error, offset int64) {
	a.f.options.Progress(progress.Event{Kind: progress.Retried, Blob: a.blob.Digest, Size: a.blob.Size, Err: err, Offset: offset})
}

// refused tells a host of an error that asks for fewer requests, and reports whether it
// is one.
func (a *attempts) refused(h *host, err error) bool {
	if !a.f.options.Busy(err) {
		return false
	}
	h.fewer(a.f.options.Jobs, a.backoff.Judge(err).After)
	return true
}
