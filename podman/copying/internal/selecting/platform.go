package selecting

import (
	"context"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"
)

// ChoosePlatform returns the digest of the manifest that sys, which may be nil, chooses
// from the index of src, or nil if the image has a manifest and no index. If the index
// has none for that platform, the error is an *errdef.NoPlatformError with those that
// it has.
func ChoosePlatform(ctx context.Context, sys *types.SystemContext, src types.ImageSource) (*digest.Digest, error) {
	raw, mimeType, err := src.GetManifest(ctx, nil)
	if err != nil || !manifest.MIMETypeIsMultiImage(mimeType) {
		return nil, err
	}
	list, index, err := ParseList(raw, mimeType)
	if err != nil {
		return nil, err
	}
	chosen, err := ChooseInstance(list, index, sys)
	if err != nil {
		return nil, err
	}
	return &chosen, nil
}
