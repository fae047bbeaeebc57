package archive

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Image is one image of an archive, for one platform or, as an index, for
// several.
type Image struct {
	// Position is its zero-based place in the archive.
	Position int
	// Names are its names as the archive has them; not all of them need be valid
	// references, and there may be none. The caller must not change them.
	Names []string

	catalog *catalog.Catalog
	image   *catalog.Image
}

// Manifest returns what the image's names stand for: a manifest or an index. If
// the archive has neither, as those of docker before version 25 and of skopeo, a
// manifest is made, and layers that are compressed are read for their sizes.
func (i *Image) Manifest(ctx context.Context) (*Manifest, error) {
	data, mediaType, err := i.image.Manifest(ctx, nil)
	if err != nil {
		return nil, i.fail(err)
	}
	descriptor, stored := i.image.Descriptor()
	// The image may be taken from manifest.json although there is a manifest.
	made := !stored || descriptor.Digest.Algorithm().FromBytes(data) != descriptor.Digest
	if made {
		descriptor = imgspecv1.Descriptor{Digest: digest.FromBytes(data)}
	}
	return i.newManifest(descriptor, mediaType, data, made)
}

// Stored returns a manifest or an index as the archive has it, by its digest or, if that
// is empty, the image's own, also where it contradicts its config, so that Manifest and
// Instance fail. It is for passing images on by their digests. The error wraps
// fs.ErrNotExist if the archive has none of this digest.
func (i *Image) Stored(_ context.Context, d digest.Digest) (*Manifest, error) {
	data, mediaType, err := i.image.Stored(d)
	if err != nil {
		return nil, i.fail(err)
	}
	descriptor, _ := i.image.Descriptor()
	if d != "" && d != descriptor.Digest {
		descriptor = imgspecv1.Descriptor{Digest: d}
	}
	return i.newManifest(descriptor, mediaType, data, false)
}

// Warnings returns the archive's claims about the image that contradict others in it
// and are not believed. The layers are read only where that is needed to tell which is
// right. The error is for an image that is consistent nowhere, and cannot be read.
func (i *Image) Warnings(ctx context.Context) ([]string, error) {
	warnings, err := i.image.Settle(ctx)
	if err != nil {
		return nil, i.fail(err)
	}
	return warnings, nil
}

// Instance returns a manifest, or an index, by its digest: one of those that the
// image's index lists, or the image's own. The error wraps fs.ErrNotExist if the
// archive has none of this digest.
func (i *Image) Instance(ctx context.Context, d digest.Digest) (*Manifest, error) {
	descriptor, stored := i.image.Descriptor()
	if !stored || d == descriptor.Digest {
		m, err := i.Manifest(ctx)
		if err == nil && m.Digest != d {
			return nil, i.fail(fmt.Errorf("the image has no manifest %s: %w", d, fs.ErrNotExist))
		}
		return m, err
	}
	data, mediaType, err := i.image.Manifest(ctx, &d)
	if err != nil {
		if m, other := i.Manifest(ctx); other == nil && m.Digest == d { // One that was made.
			return m, nil
		}
		return nil, i.fail(err)
	}
	return i.newManifest(imgspecv1.Descriptor{Digest: d}, mediaType, data, false)
}

// ForPlatform returns the manifest for a platform: in an index, the first that is in
// the archive. OS and architecture must be the same, and the variant too where both
// sides have one. An image that does not say what it is for is taken to be for any. The
// error is an errdef.NoPlatformError if there is none, and wraps fs.ErrNotExist if
// there is one that was not saved.
func (i *Image) ForPlatform(ctx context.Context, p imgspecv1.Platform) (*Manifest, error) {
	d, err := i.Describe(ctx)
	if err != nil {
		return nil, err
	}
	var missing *Description
	var available []string
	for m := range images(d) {
		switch {
		case !m.Platform.IsZero() && !matches(m.Platform.Platform, p):
			if !m.Missing {
				available = append(available, m.Platform.String())
			}
		case m.Missing:
			missing = cmp.Or(missing, m)
		case m.Digest == "":
			return i.Manifest(ctx)
		default:
			return i.Instance(ctx, m.Digest)
		}
	}
	if missing != nil {
		return i.Instance(ctx, missing.Digest) // Its error says what is wrong.
	}
	return nil, i.fail(&errdef.NoPlatformError{Wanted: image.PlatformString(&p), Available: available})
}

func matches(have, want imgspecv1.Platform) bool {
	return have.OS == want.OS && have.Architecture == want.Architecture &&
		(have.Variant == want.Variant || have.Variant == "" || want.Variant == "")
}

// Blob returns a config or a layer by the digest that a manifest of the image has
// for it. The error wraps fs.ErrNotExist if it is not in the archive.
func (i *Image) Blob(ctx context.Context, d digest.Digest) (*Blob, error) {
	b, err := i.image.Blob(ctx, d)
	if err != nil {
		return nil, i.fail(err)
	}
	return &Blob{Digest: b.Digest, Size: b.Size, blob: b}, nil
}

// fail says which image an error is about.
func (i *Image) fail(err error) error { return fmt.Errorf("image @%d: %w", i.Position, err) }
