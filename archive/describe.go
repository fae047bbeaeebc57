package archive

import (
	"context"
	"iter"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
)

// Description is what can be said of a manifest or an index without reading its
// layers.
type Description struct {
	MediaType string
	// Digest is that of the manifest or index, empty if one has to be made: the
	// archive has a config and layers only.
	Digest digest.Digest
	// Config is the digest of the config, which Docker calls the image ID. An
	// index has none.
	Config digest.Digest
	// Platform is nil of an index, and if it is not known.
	Platform *imgspecv1.Platform
	// Layers is the number of layers; of an index, of all its manifests.
	Layers int
	// Size is how many bytes of the archive the config and the layers take, each
	// counted once; of an index, those of all its manifests.
	Size int64
	// Missing is set if an index lists the manifest but the archive has not got it.
	Missing bool
	// Attestation is set for a manifest that tells of another one's origin.
	Attestation bool
	// Subject is the digest of what the manifest or index is about, as a signature or
	// an SBOM is; empty if it is about nothing else.
	Subject digest.Digest
	// ArtifactType is the type of something else than an image; empty of an image.
	ArtifactType string
	// LeftOut are layers that the archive is without on purpose, as it says; of an index,
	// those of all its manifests.
	LeftOut []errdef.LeftOut
	// Manifests are those of an index, in its order.
	Manifests []Description
	// Fault is why the image, or this manifest, cannot be read, as far as that is known
	// without reading its layers; nil if nothing is known to be wrong. What is missing
	// from an index is none.
	Fault error
}

// Describe describes the image. If it is of an archive of Docker before 1.10,
// which has no configs, the layers are read. If it fails, because the image cannot be
// read, what it returns is as much as is known.
func (i *Image) Describe(ctx context.Context) (*Description, error) {
	d, err := i.catalog.Describe(ctx, i.image)
	described := describe(d)
	if err != nil {
		return &described, i.fail(err)
	}
	return &described, nil
}

func describe(d catalog.Description) Description {
	described := Description{
		MediaType:    d.MediaType,
		Digest:       d.Manifest,
		Config:       d.Config,
		Platform:     d.Platform,
		Layers:       d.Layers,
		Size:         d.Size,
		Missing:      d.Missing,
		Attestation:  d.Attestation,
		Subject:      d.Subject,
		ArtifactType: d.ArtifactType,
		LeftOut:      d.LeftOut,
		Fault:        d.Fault,
	}
	for _, m := range d.Manifests {
		described.Manifests = append(described.Manifests, describe(m))
	}
	return described
}

// images yields the manifests of images that d is or, as an index, leads to.
func (d *Description) images() iter.Seq[*Description] {
	return func(yield func(*Description) bool) { d.walk(yield) }
}

func (d *Description) walk(yield func(*Description) bool) bool {
	if d.Attestation {
		return true
	}
	if d.Config != "" || d.Missing {
		return yield(d)
	}
	for n := range d.Manifests {
		if !d.Manifests[n].walk(yield) {
			return false
		}
	}
	return true
}
