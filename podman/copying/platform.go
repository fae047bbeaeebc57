package copying

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/copy"
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
	list, index, err := parseList(raw, mimeType)
	if err != nil {
		return nil, err
	}
	chosen, err := chooseInstance(list, index, sys)
	if err != nil {
		return nil, err
	}
	return &chosen, nil
}

func parseList(raw []byte, mimeType string) (manifest.List, *parsedIndex, error) {
	list, err := manifest.ListFromBlob(raw, mimeType)
	if err != nil {
		return nil, nil, fmt.Errorf("parsing its index: %w", err)
	}
	index, err := parseIndex(raw)
	return list, index, err
}

// checkIndex refuses what copy.Image would copy of an index: a platform that is not
// there, which it reports without those that are, and what is no digest, which it
// prints as it is.
func checkIndex(ctx context.Context, src types.ImageSource, options *copy.Options) error {
	if options.ImageListSelection == copy.CopySystemImage {
		_, err := ChoosePlatform(ctx, options.SourceCtx, src)
		return err
	}
	raw, mimeType, err := src.GetManifest(ctx, nil)
	if err != nil || !manifest.MIMETypeIsMultiImage(mimeType) {
		return err
	}
	_, index, err := parseList(raw, mimeType)
	if err != nil {
		return err
	}
	for _, listed := range index.descriptors {
		if err := listed.Digest.Validate(); err != nil {
			return fmt.Errorf("its index lists %q: %w", listed.Digest, err)
		}
	}
	return nil
}
