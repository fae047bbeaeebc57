package sources

import (
	"net/http"
	"time"

	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/podman/internal/answers"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// Retries returns the policy for everything that is read from another machine, or written
// to it: it is tried again so many times, after a delay. 0 is a second, and twice as long
// each time.
func Retries(times int, delay time.Duration) retry.Policy {
	return retry.Policy{Times: times, Delay: delay, Classifiers: []retry.Classifier{answers.Judge, registries.Judge}}
}

// IsBusy reports whether an error is a registry's that has too many requests.
func IsBusy(err error) bool {
	code, ok := answers.Status(err)
	return ok && (code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable)
}
