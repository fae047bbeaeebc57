// Package signing checks the signatures of images with what an archive has of them. It
// asks nobody else, and knows no format of archives.
package signing

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker/reference"
	ctrimage "go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

// Options say which signatures are accepted.
type Options struct {
	// Keys are public keys in PEM, with one of which an image must be signed.
	Keys [][]byte
	// Identity is the repository that a signature must be for, such as
	// registry.example.com/team/app. By default that is the image's own, by each of
	// the names that it has in the archive.
	Identity string
	// TempDir is where manifests and signatures are put for containers/image, which
	// looks at them in a directory; "" is the default of package os.
	TempDir string
}

// The media types of signatures.
const (
	cosignSignature = "application/vnd.dev.cosign.simplesigning.v1+json" // of their layers
	sigstoreBundle  = "application/vnd.dev.sigstore.bundle.v0.3+json"    // cosign 3, and not known to containers/image
)

// Verify checks that every image of an archive is signed, as the policy
// sigstoreSigned of containers/image has it, by signatures that are in the archive: at
// cosign's tag for the image, or in a manifest whose subject it is. Nothing else is
// asked, and no transparency log. An index may be signed itself, or all of its images
// that are in the archive.
//
// The problems are what is not signed as wanted, each with the image. The error is for
// what keeps the images from being checked.
func Verify(ctx context.Context, r *dockerarchive.Reader, options Options) (problems []error, err error) {
	if err := checkKeys(options.Keys); err != nil {
		return nil, err
	}
	infos, err := r.Images(ctx)
	if err != nil {
		return nil, err
	}
	v := &verifier{options: options, infos: infos}
	for _, info := range infos {
		if info.IsReferrer() {
			continue
		}
		if err := v.verify(ctx, info); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			problems = append(problems, fmt.Errorf("%s: %w", v.label(info), err))
		}
	}
	return problems, nil
}

// checkKeys fails for what cannot be a public key, which would have no image signed.
func checkKeys(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("verifying signatures: there is no key")
	}
	for n, key := range keys {
		block, _ := pem.Decode(key)
		if block == nil || !strings.HasSuffix(block.Type, "PUBLIC KEY") {
			return fmt.Errorf("verifying signatures: key %d is no public key in PEM", n+1)
		}
	}
	return nil
}

// verifier verifies the signatures of one archive.
type verifier struct {
	options Options
	infos   []dockerarchive.ImageInfo
}

func (v *verifier) label(info dockerarchive.ImageInfo) string {
	if len(info.Names) > 0 {
		return info.Names[0]
	}
	return fmt.Sprintf("@%d", info.Position)
}

// verify checks an image under all of its names.
func (v *verifier) verify(ctx context.Context, info dockerarchive.ImageInfo) error {
	if info.Digest == "" {
		return errors.New("the archive has no manifest of it that a signature could be of")
	}
	identities, err := v.identities(info)
	if err != nil {
		return err
	}
	for _, identity := range identities {
		policy, err := v.policy(identity)
		if err != nil {
			return err
		}
		err = v.verifyAs(ctx, policy, info)
		if err := errors.Join(err, policy.Destroy()); err != nil {
			return err
		}
	}
	return nil
}

// identities returns the repositories that an image must be signed as.
func (v *verifier) identities(info dockerarchive.ImageInfo) ([]string, error) {
	if v.options.Identity != "" {
		return []string{v.options.Identity}, nil
	}
	var identities []string
	for _, name := range info.Names {
		named, err := reference.ParseNormalizedNamed(name)
		if err == nil && !slices.Contains(identities, named.Name()) {
			identities = append(identities, named.Name())
		}
	}
	if len(identities) == 0 {
		return nil, errors.New("it has no name that a signature could be for; say which repository it is signed as")
	}
	return identities, nil
}

// policy returns the policy for what is signed as an identity.
func (v *verifier) policy(identity string) (*signature.PolicyContext, error) {
	match, err := signature.NewPRMExactRepository(identity)
	if err != nil {
		return nil, fmt.Errorf("signed as %q: %w", identity, err)
	}
	signed, err := signature.NewPRSigstoreSigned(
		signature.PRSigstoreSignedWithKeyDatas(v.options.Keys),
		signature.PRSigstoreSignedWithSignedIdentity(match),
	)
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	return signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signed}})
}

// verifyAs checks an image or, of an index that is not signed, all that it lists and
// the archive has.
func (v *verifier) verifyAs(ctx context.Context, policy *signature.PolicyContext, info dockerarchive.ImageInfo) error {
	src, err := info.References[0].NewImageSource(ctx, nil)
	if err != nil {
		return err
	}
	defer src.Close() // It is only read.
	err = v.verifyManifest(ctx, policy, src, info.Digest)
	if err == nil || len(info.Manifests) == 0 {
		return err
	}
	checked := false
	for _, m := range info.Manifests {
		if m.Missing || m.Attestation {
			continue
		}
		if v.verifyManifest(ctx, policy, src, m.Digest) != nil {
			return err
		}
		checked = true
	}
	if !checked {
		return err
	}
	return nil
}

// verifyManifest has the policy judge a manifest with its signatures. Only sources of
// containers/image can give it any but those of GnuPG: it gets a directory.
func (v *verifier) verifyManifest(ctx context.Context, policy *signature.PolicyContext, src types.ImageSource, d digest.Digest) (err error) {
	raw, _, err := src.GetManifest(ctx, &d)
	if err != nil {
		return err
	}
	signatures, ignored, err := v.signatures(ctx, d)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(v.options.TempDir, "signatures-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), raw, 0o600); err != nil {
		return err
	}
	for n, s := range signatures {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("signature-%d", n+1)), s, 0o600); err != nil {
			return err
		}
	}
	ref, err := directory.NewReference(dir)
	if err != nil {
		return err
	}
	copied, err := ref.NewImageSource(ctx, nil)
	if err != nil {
		return err
	}
	defer copied.Close() // It is only read.
	if _, err := policy.IsRunningImageAllowed(ctx, ctrimage.UnparsedInstance(copied, nil)); err != nil {
		if ignored > 0 {
			err = fmt.Errorf("%w (there are %d sigstore bundles, which are not looked at)", err, ignored)
		}
		return fmt.Errorf("the signature of %s: %w", d, err)
	}
	return nil
}

// signatures returns the signatures of a manifest, as directories of containers/image
// have them, and how many there are of a kind that it does not know.
func (v *verifier) signatures(ctx context.Context, subject digest.Digest) (signatures [][]byte, ignored int, err error) {
	for _, info := range v.infos {
		if !slices.Contains(info.Subjects, subject) || info.Digest == "" {
			continue
		}
		if info.ArtifactType == sigstoreBundle {
			ignored++
			continue
		}
		if len(info.Manifests) > 0 {
			continue
		}
		found, err := readSignatures(ctx, info)
		if err != nil {
			return nil, 0, fmt.Errorf("reading signature %s: %w", info.Digest, err)
		}
		signatures = append(signatures, found...)
	}
	return signatures, ignored, nil
}

// readSignatures returns the signatures in a manifest of cosign's, none if it is
// another one.
func readSignatures(ctx context.Context, info dockerarchive.ImageInfo) ([][]byte, error) {
	src, err := info.References[0].NewImageSource(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer src.Close() // It is only read.
	raw, mediaType, err := src.GetManifest(ctx, &info.Digest)
	if err != nil {
		return nil, err
	}
	document, err := image.ParseDocument(raw, mediaType)
	if err != nil {
		return nil, err
	}
	var signatures [][]byte
	for _, layer := range document.Layers {
		if layer.MediaType != cosignSignature {
			continue
		}
		payload, err := readPayload(ctx, src, layer)
		if err != nil {
			return nil, err
		}
		s, err := json.Marshal(struct {
			MIMEType    string            `json:"mimeType"`
			Payload     []byte            `json:"payload"`
			Annotations map[string]string `json:"annotations"`
		}{layer.MediaType, payload, layer.Annotations})
		if err != nil {
			return nil, err
		}
		signatures = append(signatures, append([]byte("\x00sigstore-json\n"), s...))
	}
	return signatures, nil
}

// readPayload returns what is signed, and has the digest by which the manifest refers
// to it.
func readPayload(ctx context.Context, src types.ImageSource, layer imgspecv1.Descriptor) ([]byte, error) {
	body, _, err := src.GetBlob(ctx, manifest.BlobInfoFromOCI1Descriptor(layer), none.NoCache)
	if err != nil {
		return nil, err
	}
	defer body.Close() // It has been read.
	payload, err := io.ReadAll(io.LimitReader(body, image.MaxDocument+1))
	switch {
	case err != nil:
		return nil, err
	case len(payload) > image.MaxDocument:
		return nil, fmt.Errorf("%w: it is larger than %d bytes", errdef.ErrLimit, image.MaxDocument)
	}
	if got := layer.Digest.Algorithm().FromBytes(payload); got != layer.Digest {
		return nil, &errdef.MismatchError{Name: "the payload", Want: layer.Digest, Got: got}
	}
	return payload, nil
}
