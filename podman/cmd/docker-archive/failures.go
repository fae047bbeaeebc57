package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
)

// copyError is an error of copying an image.
type copyError struct {
	source, destination types.ImageReference
	err                 error
}

// Error names both ends.
func (e *copyError) Error() string {
	return fmt.Sprintf("copying %s to %s: %v", transports.ImageName(e.source), transports.ImageName(e.destination), e.err)
}

// Unwrap returns the error without the names.
func (e *copyError) Unwrap() error { return e.err }

// credentialsError says that a registry refused the user's credentials.
type credentialsError struct {
	error
	user string
}

// Unwrap returns the registry's error.
func (e *credentialsError) Unwrap() error { return e.error }

// refused marks an error that is about credentials of the flags.
func (r *registryOptions) refused(err error) error {
	status := statusOf(err)
	if status != http.StatusUnauthorized && status != http.StatusForbidden {
		return err
	}
	if auth, authErr := r.auth(); authErr == nil && auth != nil && auth.Username != "" {
		return &credentialsError{err, auth.Username}
	}
	return err
}

// registryError is an error of a request to a registry, for errors that do not name it.
type registryError struct {
	error
	host string
}

// Unwrap returns the error.
func (e *registryError) Unwrap() error { return e.error }

// failed marks an error of a request to a registry. nil stays nil.
func (r *registryOptions) failed(host string, err error) error {
	if err == nil {
		return nil
	}
	return &registryError{r.refused(err), host}
}

// hostOf returns the registry that a reference refers to, or "".
func hostOf(ref types.ImageReference) string {
	if ref.Transport().Name() != docker.Transport.Name() {
		return ""
	}
	return reference.Domain(ref.DockerReference())
}

// transportHint suggests a transport for a name without one.
func transportHint(name string) string {
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return fmt.Sprintf("; did you mean oci:%s or dir:%s?", name, name)
	case err == nil, looksLikeArchive(name):
		return fmt.Sprintf("; did you mean docker-archive:%s?", name)
	}
	return fmt.Sprintf("; did you mean docker://%s?", name)
}

// wrongImage is the error for an end of a copy that is none.
func wrongImage(end, name string, err error) error {
	transport, rest, ok := strings.Cut(name, ":")
	if transport == docker.Transport.Name() && !strings.HasPrefix(rest, "//") {
		return usagef("%s: %w; did you mean docker://%s?", end, err, rest)
	}
	if ok && transports.Get(transport) != nil {
		return usagef("%s %q: %w", end, shortened(name), err)
	}
	return usagef("%s: %q does not begin with a transport%s", end, shortened(name), transportHint(name))
}

// failure is the error of a copy that has failed.
func (o *copyOptions) failure(src, dest types.ImageReference, err error) error {
	switch docker.Transport.Name() {
	case src.Transport().Name():
		err = o.src.refused(err)
	case dest.Transport().Name():
		err = o.dest.refused(err)
	}
	return &copyError{src, dest, err}
}
