package sources

import (
	"errors"
	"net/http"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/internal/answers"
)

// opened is a source that blobs are read from.
type opened struct {
	src    types.ImageSource
	ranger *ranger // nil if there are no ranges to be had
}

// IsRejected reports whether an error means that a registry did not authenticate the
// client.
func IsRejected(err error) bool {
	var unauthorized docker.ErrUnauthorizedForCredentials
	code, ok := answers.Status(err)
	return errors.As(err, &unauthorized) || ok && code == http.StatusUnauthorized
}
