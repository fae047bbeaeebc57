package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/imageinfo"
)

// Archives are partial in practice: a daemon that has one platform of an image saves
// the index of all.

// Present returns the images of an index that are in the archive. It returns nothing
// for an image that is no index or cannot be described.
func (c *Catalog) Present(ctx context.Context, img *Image) []imageinfo.Manifest {
	d, err := c.Describe(ctx, img)
	if err != nil {
		return nil
	}
	var there []imageinfo.Manifest
	for _, m := range d.Manifests {
		if !m.Missing && !m.Attestation && m.Config != "" {
			there = append(there, m)
		}
	}
	return there
}

// Meant returns the one of several images that is meant if the caller does not say
// which: the only one or, of several, the one that manifest.json names.
func (img *Image) Meant(there []imageinfo.Manifest) (imageinfo.Manifest, bool) {
	if len(there) > 1 {
		var named []imageinfo.Manifest
		for _, m := range there {
			if img.NamesConfig(m.Config) {
				named = append(named, m)
			}
		}
		there = named
	}
	if len(there) != 1 {
		return imageinfo.Manifest{}, false
	}
	return there[0], true
}

// ExplainMissing adds to the error for a manifest of an index that is not in the
// archive which are: an errdef.NoPlatformError.
func (c *Catalog) ExplainMissing(ctx context.Context, img *Image, instance digest.Digest, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d, describeErr := c.Describe(ctx, img)
	if describeErr != nil {
		return err
	}
	missing := &errdef.NoPlatformError{}
	for _, m := range d.Manifests {
		if m.Digest == instance && !m.Attestation {
			missing.Wanted = m.Platform.String()
		}
	}
	for _, m := range c.Present(ctx, img) {
		missing.Available = append(missing.Available, m.Platform.String())
	}
	if missing.Wanted == "" || len(missing.Available) == 0 {
		return err
	}
	return fmt.Errorf("%w: %w", err, missing)
}
