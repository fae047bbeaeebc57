package registries

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// Digest returns the digest of what a registry has under a tag or a digest, of the bytes
// that it answers with. No mirror is asked.
func (c *Client) Digest(ctx context.Context, name reference.Named) (digest.Digest, error) {
	at := ""
	switch name := name.(type) {
	case reference.Tagged:
		at = name.Tag()
	case reference.Digested:
		at = name.Digest().String()
	}
	r, err := c.itself(ctx, name)
	if err != nil {
		return "", err
	}
	raw, _, err := getManifest(ctx, r.remote, at)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", name, err)
	}
	return digest.FromBytes(raw), nil
}

// IsNotFound reports whether an error is a registry's that has not got something.
func IsNotFound(err error) bool {
	var answer *errcode.ErrorResponse
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}

// IsDenied reports whether an error is a registry's that lets the user not do something.
func IsDenied(err error) bool {
	var answer *errcode.ErrorResponse
	return errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden)
}
