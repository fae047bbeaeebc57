package main

import (
	"errors"

	"github.com/containers/image/v5/docker"

	"github.com/dockerarchive/dockerarchive"
)

// hintFor returns what the user can do about an error, or "".
func hintFor(err error) string {
	var unauthorized docker.ErrUnauthorizedForCredentials
	switch {
	case errors.As(err, &unauthorized):
		return "Log in with 'docker login' or 'podman login', or pass --src-creds or --dest-creds."
	case errors.Is(err, dockerarchive.ErrTerminal):
		return "For example: docker-archive copy ... docker-archive:/dev/stdout > out.tar"
	}
	return ""
}
