// Package answers knows the errors that containers/image makes of the answers of
// registries. It is the one package in this directory that knows containers/image.
package answers

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/docker/distribution/registry/api/errcode"
	"go.podman.io/image/v5/docker"

	"github.com/dockerarchive/dockerarchive/internal/retry"
)

// Judge is a retry.Classifier for the errors that containers/image makes of a registry's
// answers. After some of them containers/image has waited as long as the registry asked,
// and does not say after which.
func Judge(err error) (retry.Verdict, bool) {
	if code, ok := Status(err); ok {
		return retry.Status(code), true
	}
	return retry.Verdict{}, false
}

// Status returns the status of the answer that an error of containers/image comes from.
func Status(err error) (code int, ok bool) {
	var status docker.UnexpectedHTTPStatusError
	if errors.As(err, &status) {
		return status.StatusCode, true
	}
	if errors.Is(err, docker.ErrTooManyRequests) {
		return http.StatusTooManyRequests, true
	}
	var coded errcode.ErrorCoder
	if errors.As(err, &coded) {
		if coded.ErrorCode() == errcode.ErrorCodeUnknown {
			return http.StatusBadRequest, true // Was a 4xx, though its descriptor says 500.
		}
		return coded.ErrorCode().Descriptor().HTTPStatusCode, true
	}
	return BodyStatus(err)
}

// BodyStatus returns the status of an answer whose body is not a registry's.
// containers/image has an error for that, which it does not export.
func BodyStatus(err error) (code int, ok bool) {
	if err == nil {
		return 0, false
	}
	if n, _ := fmt.Sscanf(err.Error(), "error parsing HTTP %d response body:", &code); n == 1 {
		return code, true
	}
	if several, is := err.(interface{ Unwrap() []error }); is {
		for _, err := range several.Unwrap() {
			if code, ok := BodyStatus(err); ok {
				return code, true
			}
		}
		return 0, false
	}
	return BodyStatus(errors.Unwrap(err))
}
