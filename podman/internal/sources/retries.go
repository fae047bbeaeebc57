package sources

import (
	"errors"
	"net/http"
	"time"

	"go.podman.io/image/v5/docker"

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

// mayPass reports whether an error may not occur the next time.
func mayPass(err error) bool { return Retries(0, 0).Judge(err).Retry }

// IsBusy reports whether an error is a registry's that has too many requests.
func IsBusy(err error) bool {
	code, ok := status(err)
	return ok && (code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable)
}

func status(err error) (code int, ok bool) {
	if code, ok := registries.Status(err); ok {
		return code, true
	}
	return answers.Status(err)
}

// IsRejected reports whether an error means that a registry did not authenticate the
// client.
func IsRejected(err error) bool {
	var unauthorized docker.ErrUnauthorizedForCredentials
	code, ok := answers.Status(err)
	return errors.As(err, &unauthorized) || ok && code == http.StatusUnauthorized
}
