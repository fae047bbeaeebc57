package copying

import (
	"context"
	"net/http"
	"time"

	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/podman/internal/answers"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

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
	policy := retryPolicy(times)
	policy.Delay = delay
	return policy.Do(ctx, announce, f)
}

func retryPolicy(times int) retry.Policy {
	return retry.Policy{Times: times, Classifiers: []retry.Classifier{answers.Judge, registries.Judge}}
}

// isBusy reports whether an error is a registry's that has too many requests.
func isBusy(err error) bool {
	code, ok := answers.Status(err)
	return ok && (code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable)
}
