package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/daemon"
)

// locateDaemon sets the address of the docker daemon in sys, as docker itself finds it.
// Flags take precedence.
func locateDaemon(sys *types.SystemContext) error {
	if sys.DockerDaemonHost != "" {
		return nil // tcp:// means TLS there, as for skopeo.
	}
	found, err := daemon.Find(daemon.Chosen{Config: daemon.Config{
		CertDir: sys.DockerDaemonCertPath, InsecureSkipVerify: sys.DockerDaemonInsecureSkipTLSVerify,
	}})
	if err != nil {
		return err
	}
	if _, address, ok := strings.Cut(found.Host, "ssh://"); ok {
		return fmt.Errorf("the docker daemon at ssh://%s is reached by ssh, over which no images are copied: use 'docker save' there, or forward the socket",
			address[strings.LastIndex(address, "@")+1:]) // Without its password, if any.
	}
	sys.DockerDaemonHost, sys.DockerDaemonCertPath = found.Host, found.CertDir
	sys.DockerDaemonInsecureSkipTLSVerify = found.InsecureSkipVerify
	return nil
}

// isShortID reports whether something is the ID of an image, or the beginning of one, as docker takes it.
func isShortID(id string) bool {
	id = strings.TrimPrefix(id, "sha256:")
	return id != "" && len(id) <= digest.SHA256.Size()*2 && strings.Trim(id, "0123456789abcdef") == ""
}

// wholeID asks the daemon to complete the ID of an image that is docker-daemon: and the
// beginning of an ID. It returns other images unchanged. A name that could be an ID stays a
// name if the daemon has an image of that name.
func wholeID(ctx context.Context, sys *types.SystemContext, image string) (string, error) {
	id, ok := strings.CutPrefix(image, dockerDaemon+":")
	if !ok {
		return image, nil
	}
	if err := locateDaemon(sys); err != nil {
		return "", err
	}
	if _, err := digest.Parse(id); err == nil || !isShortID(id) {
		return image, nil
	}
	told, err := daemon.Inspect(ctx, daemon.Config{
		Host: sys.DockerDaemonHost, CertDir: sys.DockerDaemonCertPath, InsecureSkipVerify: sys.DockerDaemonInsecureSkipTLSVerify,
	}, id)
	var refused *daemon.RefusedError
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusNotFound:
		return image, nil // It may be the name of a repository.
	case err != nil:
		return "", err
	case told.ID.Validate() == nil && strings.HasPrefix(told.ID.Encoded(), strings.TrimPrefix(id, "sha256:")):
		return dockerDaemon + ":" + told.ID.String(), nil
	}
	return image, nil
}
