package sources

import (
	"context"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"
)

// Typed returns src with the real types of manifests, if the registry says application/json
// for the first one, or nothing. The wrapping hides sigstore signatures, so that a policy
// which asks for these refuses the image; no other source is wrapped.
func Typed(ctx context.Context, src types.ImageSource) types.ImageSource {
	if !IsRegistry(src.Reference()) {
		return src
	}
	_, mimeType, err := src.GetManifest(ctx, nil) // Sources keep it.
	if err != nil || isManifestType(mimeType) {
		return src
	}
	return typedSource{src}
}

func isManifestType(mimeType string) bool {
	return manifest.NormalizedMIMEType(mimeType) == mimeType
}

type typedSource struct{ types.ImageSource }

// GetManifest returns the manifest.
func (s typedSource) GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	m, mimeType, err := s.ImageSource.GetManifest(ctx, instance)
	if err == nil && !isManifestType(mimeType) {
		if guessed := manifest.GuessMIMEType(m); guessed != "" {
			mimeType = guessed
		}
	}
	return m, mimeType, err
}
