package dockerarchive

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/verify"
)

// ImageInfo is what can be said of an image in an archive without reading its
// layers.
type ImageInfo struct {
	// References are those that List returns for the image.
	References []types.ImageReference `json:"-"`
	// Position is the place of the image in the archive, from zero: the N of
	// ARCHIVE:@N.
	Position int `json:"position"`
	// Names are as they are in the archive; some need not be valid references.
	Names []string `json:"names"`
	// Subjects are the digests of what this is about, as a signature or an SBOM is, if it
	// is no image of its own: one for each of the Names, or just one. Such a referrer is
	// not meant where an archive's only image is.
	Subjects []digest.Digest `json:"subjects,omitempty"`
	// Error says why the image cannot be read, as far as that is known without reading
	// its layers; empty if nothing is known to be wrong.
	Error string `json:"error,omitempty"`
	ManifestInfo
}

// ManifestInfo describes a manifest or an index.
type ManifestInfo struct {
	MediaType string `json:"mediaType"`
	// Digest is that of the manifest or index, empty if the archive has a config
	// and layers only.
	Digest digest.Digest `json:"digest,omitempty"`
	// Config is the digest of the config, which Docker calls the image ID. An
	// index has none.
	Config digest.Digest `json:"config,omitempty"`
	// Platform is os/architecture[/variant], empty of an index or if unknown.
	Platform string `json:"platform,omitempty"`
	// Layers is the number of layers; of an index, of all its manifests.
	Layers int `json:"layers"`
	// Size is how many bytes of the archive the config and the layers take,
	// each counted once; of an index, those of all its manifests.
	Size int64 `json:"size"`
	// Missing is set if an index has the manifest but the archive has not.
	Missing bool `json:"missing,omitempty"`
	// Attestation is set for a manifest that tells of another one's origin.
	Attestation bool `json:"attestation,omitempty"`
	// Subject is the digest of what the manifest or index is about, as a signature or
	// an SBOM is; empty if it is about nothing else.
	Subject digest.Digest `json:"subject,omitempty"`
	// ArtifactType is the type of something else than an image; empty of an image.
	ArtifactType string `json:"artifactType,omitempty"`
	// LayerBlobs are the layers of a manifest that the archive has in full, each once;
	// of an image without a manifest, its diff IDs.
	LayerBlobs []LayerBlob `json:"layerBlobs,omitempty"`
	// LeftOut are layers that the archive is without on purpose; of an index, those of
	// all its manifests.
	LeftOut []errdef.LeftOut `json:"leftOut,omitempty"`
	// Manifests are those of an index.
	Manifests []ManifestInfo `json:"manifests,omitempty"`
}

// LayerBlob is a layer that an archive has.
type LayerBlob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // in bytes
}

// IsReferrer reports whether this is no image but about one, or about another referrer.
func (i *ImageInfo) IsReferrer() bool { return len(i.Subjects) > 0 }

// Images describes all images in the order of the archive. Of archives of Docker
// before 1.10, which have no configs, it reads the layers. An image that is broken is
// described as far as it can be read: that keeps nobody from the others.
func (r *Reader) Images(ctx context.Context) ([]ImageInfo, error) {
	infos := []ImageInfo{}
	for _, img := range r.catalog.Images() {
		d, err := r.catalog.Describe(ctx, img)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: %s: image @%d: %w", r.transport.name, r.path, img.Position, err)
		}
		info := ImageInfo{Position: img.Position, Names: slices.Concat([]string{}, img.Names), Subjects: img.Subjects(), ManifestInfo: manifestInfo(d)}
		if fault := cmp.Or(err, d.Fault); fault != nil {
			info.Error = fault.Error()
		}
		for _, ref := range r.references(img) {
			info.References = append(info.References, ref)
		}
		infos = append(infos, info)
	}
	return infos, nil
}

func manifestInfo(d catalog.Description) ManifestInfo {
	m := ManifestInfo{
		MediaType:    d.MediaType,
		Digest:       d.Manifest,
		Config:       d.Config,
		Platform:     image.PlatformString(d.Platform),
		Layers:       d.Layers,
		Size:         d.Size,
		Missing:      d.Missing,
		Attestation:  d.Attestation,
		Subject:      d.Subject,
		ArtifactType: d.ArtifactType,
		LeftOut:      d.LeftOut,
	}
	for _, l := range d.LayerBlobs {
		m.LayerBlobs = append(m.LayerBlobs, LayerBlob(l))
	}
	for _, child := range d.Manifests {
		m.Manifests = append(m.Manifests, manifestInfo(child))
	}
	return m
}

// Verify tests everything that the archive says of itself: every blob against
// its name, its digest and its diff ID, every size and media type in a descriptor,
// every link, every name and every reference. The error is for what keeps it from
// being tested. progress, if not nil, is called, perhaps concurrently, with how
// many more of the Size bytes have been read.
func (r *Reader) Verify(ctx context.Context, progress func(bytes int)) (*archive.Report, error) {
	findings, err := r.catalog.Claims(ctx)
	if err != nil {
		return nil, err
	}
	parts, err := r.file.CheckParts(ctx)
	var mismatches []error
	if err == nil {
		mismatches, err = verify.Claims(ctx, findings.Claims, progress)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: verifying %s: %w", r.transport.name, r.path, err)
	}
	return &archive.Report{Problems: slices.Concat(parts, findings.Problems, mismatches), Notes: findings.Notes, LeftOut: findings.LeftOut}, nil
}

// Size returns how many bytes the archive has when it is not compressed.
func (r *Reader) Size() int64 { return r.file.Size() }
