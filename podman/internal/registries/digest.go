package registries

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// Digest returns the digest of the manifest that a registry has under a tag or a digest,
// computed from the bytes of the answer. No mirror is asked.
func (c *Client) Digest(ctx context.Context, name reference.Named) (digest.Digest, error) {
	r, err := c.itself(ctx, name)
	if err != nil {
		return "", err
	}
	raw, _, err := getManifest(ctx, r.remote, atOf(name))
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", name, err)
	}
	return digest.FromBytes(raw), nil
}

// atOf returns the tag or the digest of a name.
func atOf(name reference.Named) string {
	switch name := name.(type) {
	case reference.Tagged:
		return name.Tag()
	case reference.Digested:
		return name.Digest().String()
	}
	return ""
}

// ClaimedDigest returns the digest that a registry says a tag or a digest has. An error need
// not mean that there is nothing: some registries do not answer HEAD.
func (c *Client) ClaimedDigest(ctx context.Context, name reference.Named) (digest.Digest, error) {
	repository, err := c.itself(ctx, name)
	if err != nil {
		return "", err
	}
	r := repository.remote
	ctx = auth.AppendRepositoryScope(ctx, r.Reference, auth.ActionPull, auth.ActionPush)
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, baseOf(r)+"/manifests/"+atOf(name), nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Accept", strings.Join(manifestTypes, ", "))
	response, err := do(r, request, http.StatusOK)
	if err != nil {
		return "", fmt.Errorf("asking for %s: %w", name, err)
	}
	return digest.Parse(response.Header.Get("Docker-Content-Digest"))
}

// IsNotFound reports whether an error says that a registry has not got something.
func IsNotFound(err error) bool {
	var answer *errcode.ErrorResponse
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}

// IsDenied reports whether an error says that a registry does not let the user do something.
func IsDenied(err error) bool {
	var answer *errcode.ErrorResponse
	if errors.Is(err, auth.ErrBasicCredentialNotFound) { // It asks for a user, and none is known.
		return true
	}
	return errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden)
}
