package pushing

import (
	"fmt"
	"strings"

	"go.podman.io/image/v5/docker/reference"

	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// Target returns the name of an image in another registry: its own with registry, which
// may have a prefix as in HOST:PORT/PREFIX, instead of the host, or before the host if
// keepHost is set. The host's port then follows a hyphen. A digest in the name is dropped
// if there is a tag; a name with neither gets the tag latest.
func Target(registry string, name reference.Named, keepHost bool) (reference.Named, error) {
	repository := reference.Path(name)
	if keepHost {
		repository = strings.ToLower(strings.ReplaceAll(reference.Domain(name), ":", "-")) + "/" + repository
	}
	target, err := registries.ParseNormalizedNamed(registry + "/" + repository)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", registry, repository, err)
	}
	name = reference.TagNameOnly(name)
	if tagged, ok := name.(reference.Tagged); ok {
		return reference.WithTag(target, tagged.Tag())
	}
	if digested, ok := name.(reference.Digested); ok {
		return reference.WithDigest(target, digested.Digest())
	}
	return nil, fmt.Errorf("%s has neither a tag nor a digest", name)
}
