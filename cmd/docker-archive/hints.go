package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/docker/distribution/registry/api/errcode"

	"github.com/dockerarchive/dockerarchive/copying"
	"github.com/dockerarchive/dockerarchive/errdef"
)

// hintFor returns what the user can do about an error, or "".
func hintFor(err error) string {
	var noPlatform *errdef.NoPlatformError
	var missing *copying.MissingError
	var pushed *copying.PushError
	switch status := statusOf(err); {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return loginHint(err)
	case status == http.StatusNotFound && errors.As(err, &pushed):
		return "If the registry wants all that an index lists, push what is there with --platform."
	case status == http.StatusNotFound:
		return "Check the name and the tag of the image."
	case errors.As(err, &missing):
		return "Save what is there with --skip-missing."
	case errors.As(err, &noPlatform):
		return "Choose one of them with --platform; save --all-platforms saves them all."
	case errors.Is(err, errdef.ErrTerminal):
		return "For example: docker-archive save ... > out.tar, or docker-archive copy ... docker-archive:/dev/stdout > out.tar"
	}
	return ""
}

// loginHint says how to log in to the registry of the image that could not be
// read.
func loginHint(err error) string {
	var image *copying.ImageError
	var repository *copying.RepositoryError
	var pushed *copying.PushError
	var name reference.Named
	if errors.As(err, &image) {
		name = image.Source.DockerReference()
	} else if errors.As(err, &repository) {
		name = repository.Repository
	} else if errors.As(err, &pushed) {
		return "Log in with 'docker login' or 'podman login' as somebody who may push, or pass --creds."
	}
	if name != nil {
		registry := reference.Domain(name)
		return fmt.Sprintf("The registry %s wants to know who asks, or has no such image. Log in with 'docker login %s' or 'podman login %s', or pass --creds.", registry, registry, registry)
	}
	return "Log in with 'docker login' or 'podman login', or pass --src-creds or --dest-creds."
}

// statusOf returns the HTTP status that a registry answered with, or 0.
func statusOf(err error) int {
	var unauthorized docker.ErrUnauthorizedForCredentials
	if errors.As(err, &unauthorized) {
		return http.StatusUnauthorized
	}
	var status docker.UnexpectedHTTPStatusError
	if errors.As(err, &status) {
		return status.StatusCode
	}
	var coded errcode.ErrorCoder
	if errors.As(err, &coded) {
		return coded.ErrorCode().Descriptor().HTTPStatusCode
	}
	return 0
}
