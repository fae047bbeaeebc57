package registries

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
)

// List has a repository list a manifest that it has as a referrer of another. A registry
// with the referrers API does that itself. For one without, List changes the referrers
// tag, as clients have to do. A client that may not read the list leaves it as it is, and
// a registry may list nothing: listed is false then. No mirror is asked.
func (c *Client) List(ctx context.Context, repo reference.Named, subject digest.Digest, manifest imgspecv1.Descriptor, raw []byte) (listed bool, err error) {
	r, err := c.itself(ctx, repo)
	if err != nil {
		return false, err
	}
	about := imgspecv1.Descriptor{Digest: subject}
	look := func(page []imgspecv1.Descriptor) error {
		listed = listed || slices.ContainsFunc(page, func(d imgspecv1.Descriptor) bool { return d.Digest == manifest.Digest })
		return nil
	}
	err = r.remote.Referrers(ctx, about, "", look)
	if isUnsupported(err) || isRefused(err) && !IsDenied(err) { // Some say that they do not know such a path.
		if err = r.tags.Referrers(ctx, about, "", look); err == nil && !listed {
			// It is sent again: that is how the library comes to change the tag.
			err = r.tags.Push(ctx, imgspecv1.Descriptor{MediaType: manifest.MediaType, Digest: manifest.Digest, Size: manifest.Size}, bytes.NewReader(raw))
			listed = true
		}
	}
	if err != nil && (listed || !IsDenied(err)) {
		return false, fmt.Errorf("listing %s about %s in %s: %w", manifest.Digest, subject, repo.Name(), err)
	}
	return listed || err != nil, nil // A client that may not look does not find out.
}
