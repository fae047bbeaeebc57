package copying

import (
	"context"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/signing"
)

// SignatureOptions say which signatures VerifySignatures accepts.
type SignatureOptions = signing.Options

// NamelessError is a problem that VerifySignatures finds: an image is signed as one of a repository,
// but has no name in the archive, as cosign's save writes none. Only whoever expects an image can
// tell whether it is that one, by SignatureOptions.Identity.
type NamelessError = signing.NamelessError

// VerifySignatures checks that every image that some client loads from an archive is signed
// by one of the keys, by signatures that are in the archive: cosign's, or bundles of
// sigstore. Clients differ in what they load: an image counts if index.json, manifest.json
// or repositories lead to it, by a name or without one. Only attestations and other
// referrers that no client can run need no signature. Who signs an index signs what it
// lists; an index that is not signed passes if all of its manifests are that are there.
// Nobody else is asked.
//
// It looks at documents and names. Whether blobs are what their digests say, Reader.Verify
// tells: an archive is safe to load if both find nothing.
//
// The problems are what is not signed as wanted, each with the image. The error is for
// what keeps the images from being checked.
func VerifySignatures(ctx context.Context, r *dockerarchive.Reader, options SignatureOptions) (problems []error, err error) {
	return signing.Verify(ctx, r, options)
}
