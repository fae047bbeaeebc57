package copying

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/containers/image/v5/docker"
	"github.com/docker/distribution/registry/api/errcode"

	"github.com/dockerarchive/dockerarchive/copying/internal/registries"
	"github.com/dockerarchive/dockerarchive/internal/retry"
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
	return retry.Policy{Times: times, Classifiers: []retry.Classifier{judgeStatus, registries.Judge}}
}

// judgeStatus judges the errors that containers/image makes of a registry's
// answers. It has waited for as long as the registry asked to after some of them,
// and says so of none.
func judgeStatus(err error) (retry.Verdict, bool) {
	var status docker.UnexpectedHTTPStatusError
	if errors.As(err, &status) {
		return retry.Status(status.StatusCode), true
	}
	if errors.Is(err, docker.ErrTooManyRequests) {
		return retry.Status(http.StatusTooManyRequests), true
	}
	var coded errcode.ErrorCoder
	if errors.As(err, &coded) {
		if coded.ErrorCode() == errcode.ErrorCodeUnknown {
			return retry.Verdict{}, true // Was a 4xx, though its descriptor says 500.
		}
		return retry.Status(coded.ErrorCode().Descriptor().HTTPStatusCode), true
	}
	if code, ok := bodyStatus(err); ok {
		return retry.Status(code), true
	}
	return retry.Verdict{}, false
}

// isBusy reports whether an error is a registry's that has too many requests.
func isBusy(err error) bool {
	var status docker.UnexpectedHTTPStatusError
	if errors.As(err, &status) {
		return status.StatusCode == http.StatusTooManyRequests || status.StatusCode == http.StatusServiceUnavailable
	}
	return errors.Is(err, docker.ErrTooManyRequests)
}

// bodyStatus returns the status of an answer whose body is none that a registry gives,
// for which containers/image has an error that it does not export.
func bodyStatus(err error) (code int, ok bool) {
	for ; err != nil; err = errors.Unwrap(err) {
		if n, _ := fmt.Sscanf(err.Error(), "error parsing HTTP %d response body:", &code); n == 1 {
			return code, true
		}
	}
	return 0, false
}
