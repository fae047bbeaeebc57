package ranged

import (
	"context"

	"github.com/dockerarchive/dockerarchive/internal/retry"
)

// worthwhile is how many bytes an answer must bring before it breaks off, so that the next request follows at once and
// has as many retries as the first had. Blobs of registries are read by the same rule.
const worthwhile = 384 << 10

// attempts decides on requesting the rest of something. It must not be used concurrently.
type attempts struct {
	policy  retry.Policy
	backoff *retry.Backoff
}

func newAttempts(policy retry.Policy) *attempts { return &attempts{policy, policy.Backoff()} }

// next returns nil when the rest is to be requested, after an answer that brought so many bytes before it failed with
// err.
func (a *attempts) next(ctx context.Context, err error, brought int64, again func(error)) error {
	if brought >= worthwhile {
		a.backoff = a.policy.Backoff()
		if a.policy.Judge(err).Retry {
			again(err)
			return nil
		}
	}
	return a.backoff.Next(ctx, err, again)
}
