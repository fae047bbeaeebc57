// Package signing checks the signatures of images from the content of an archive alone. It
// needs no network.
package signing

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

// Verify checks that every image that some client loads from an archive is signed, by
// signatures that are in the archive. The signature of an index covers the manifests that
// it lists; an index that is not signed passes if all of its manifests in the archive are.
//
// The problems are images that are not signed as wanted, and name them. The error says
// why the images could not be checked.
func Verify(ctx context.Context, r *dockerarchive.Reader, options Options) (problems []error, err error) {
	trust, err := newTrust(options)
	if err != nil {
		return nil, fmt.Errorf("verifying signatures: %w", err)
	}
	a, err := r.Loadable(ctx)
	if err != nil {
		return nil, err
	}
	found, err := collect(ctx, a, trust)
	if err != nil {
		return nil, err
	}
	return a.Unvouched(ctx, func(d digest.Digest, repository string) error {
		return found.vouch(d, repository, options)
	})
}
