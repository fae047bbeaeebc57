package copying

import (
	"context"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/signing"
)

// SignatureOptions say which signatures VerifySignatures accepts.
type SignatureOptions = signing.Options

// VerifySignatures checks that every image of an archive is signed, as the policy
// sigstoreSigned of containers/image has it, by signatures that are in the archive: at
// cosign's tag for the image, or in a manifest whose subject it is. Nothing else is
// asked, and no transparency log. An index may be signed itself, or all of its images
// that are in the archive.
//
// The problems are what is not signed as wanted, each with the image. The error is for
// what keeps the images from being checked.
func VerifySignatures(ctx context.Context, r *dockerarchive.Reader, options SignatureOptions) (problems []error, err error) {
	return signing.Verify(ctx, r, options)
}
