package sources

import (
	"fmt"
	"net/url"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/naming"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

// Hosts are the registries that contexts are used for. A context gives its credentials to
// every registry that it is used for, although they are for one. The zero value is ready; it
// is not to be used concurrently.
type Hosts struct {
	users  map[*types.DockerAuthConfig]string
	tokens map[string]string
}

// Add notes that a context, which may be nil, is going to be used for a registry. The error
// is a *SeveralHostsError if another one has been noted for its credentials.
func (h *Hosts) Add(sys *types.SystemContext, repository reference.Named) error {
	if sys == nil {
		return nil
	}
	return h.add(sys, reference.Domain(repository))
}

func (h *Hosts) add(sys *types.SystemContext, host string) error {
	if h.users == nil {
		h.users, h.tokens = map[*types.DockerAuthConfig]string{}, map[string]string{}
	}
	if auth := sys.DockerAuthConfig; auth != nil && *auth != (types.DockerAuthConfig{}) {
		if err := only(h.users, auth, host); err != nil {
			return err
		}
	}
	if sys.DockerBearerRegistryToken != "" {
		return only(h.tokens, sys.DockerBearerRegistryToken, host)
	}
	return nil
}

// AddReference is Add for an image, wherever it is.
func (h *Hosts) AddReference(sys *types.SystemContext, ref types.ImageReference) error {
	if path, ok := dockerarchive.ArchivePath(ref); ok {
		if scheme, _ := naming.Scheme(path); scheme == "https" && sys != nil { // Buckets have credentials of their own.
			u, err := url.Parse(path)
			if err != nil {
				return nil //nolint:nilerr // The error of opening it says so.
			}
			return h.add(sys, u.Host)
		}
	}
	if ref.Transport().Name() != docker.Transport.Name() {
		return nil
	}
	return h.Add(sys, ref.DockerReference())
}

func only[K comparable](hosts map[K]string, credentials K, host string) error {
	if first, ok := hosts[credentials]; ok && first != host {
		return &SeveralHostsError{first, host}
	}
	hosts[credentials] = host
	return nil
}

// SeveralHostsError means that credentials which are for one registry would go to two.
type SeveralHostsError struct{ One, Other string }

// Error names the registries.
func (e *SeveralHostsError) Error() string {
	return fmt.Sprintf("credentials are for one registry, and would go to %s and %s: log in to each, or name a file with the credentials of both", e.One, e.Other)
}
