package copying

import (
	"context"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/signing"
)

// SignatureOptions say which signatures VerifySignatures accepts.
type SignatureOptions = signing.Options

// NamelessError is a problem that VerifySignatures finds: an image is signed as one of a
// repository, but has no name in the archive, as cosign's save writes none. Only a caller that
// expects a certain image can tell whether it is that one, by SignatureOptions.Identity.
type NamelessError = signing.NamelessError

// VerifySignatures checks that every image that some client loads from an archive is signed
// by one of the keys, by signatures that are in the archive: cosign's, or bundles of
// sigstore. Clients differ in what they load: an image counts if index.json, manifest.json
// or repositories lead to it, by a name or without one. Only attestations and other
// referrers that no client can run need no signature. The signature of an index covers the
// manifests that it lists; an index that is not signed passes if all of its manifests in
// the archive are. No registry or log is asked.
//
// It looks at documents and names. Reader.Verify tells whether blobs match their digests:
// an archive is safe to load if both find nothing.
//
// The problems are images that are not signed as wanted, and name them. The error says
// why the images could not be checked.
func VerifySignatures(ctx context.Context, r *dockerarchive.Reader, options SignatureOptions) (problems []error, err error) {
	return signing.Verify(ctx, r, options)
}
