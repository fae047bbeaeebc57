// Package imageinfo has the one description of an image in an archive, which package archive,
// the transports and the command's JSON share.
package imageinfo

import (
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// Manifest is what can be said of a manifest or an index without reading its layers.
type Manifest struct {
	MediaType string `json:"mediaType"`
	// Digest is that of the manifest or index, empty if one has to be made: the archive
	// has a config and layers only.
	Digest digest.Digest `json:"digest,omitempty"`
	// Config is the digest of the config, which Docker calls the image ID. An index has
	// none.
	Config digest.Digest `json:"config,omitempty"`
	// Platform is zero for an index, and if it is not known.
	Platform Platform `json:"platform,omitzero"`
	// Created is when the config says that the image was made; for an index, the latest of
	// its manifests. It is nil if nothing says so.
	Created *time.Time `json:"created,omitempty"`
	// Layers is the number of layers; for an index, of all its manifests.
	Layers int `json:"layers"`
	// Size is how many bytes of the archive the config and the layers take, each counted
	// once; for an index, those of all its manifests.
	Size int64 `json:"size"`
	// Missing is set if an index lists the manifest but the archive lacks it.
	Missing bool `json:"missing,omitempty"`
	// Incomplete is set if the archive has the manifest, but not all blobs that it lists.
	Incomplete bool `json:"incomplete,omitempty"`
	// Attestation is set for a manifest that tells of another one's origin.
	Attestation bool `json:"attestation,omitempty"`
	// Subject is the digest that the manifest or index is about, if it is a signature or an
	// SBOM, for example; else empty.
	Subject digest.Digest `json:"subject,omitempty"`
	// ArtifactType is the type of something else than an image; empty for an image.
	ArtifactType string `json:"artifactType,omitempty"`
	// LayerBlobs are the layers of a manifest that the archive has in full, each once; for an
	// image without a manifest, its diff IDs.
	LayerBlobs []Layer `json:"layerBlobs,omitempty"`
	// LeftOut are layers that the archive is without on purpose, each once; for an index,
	// those of all its manifests.
	LeftOut []errdef.LeftOut `json:"leftOut,omitempty"`
	// Manifests are those of an index, in its order.
	Manifests []Manifest `json:"manifests,omitempty"`
	// Fault is why the image, or this manifest, cannot be read, as far as that is known
	// without reading its layers; nil if nothing is known to be wrong. A manifest that is
	// missing from an index is no fault.
	Fault error `json:"-"`
}

// Layer is a layer that an archive has.
type Layer struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // in bytes
}

// Platform is the platform that an image is for. As text and in JSON it is
// os/architecture[/variant].
type Platform struct{ v1.Platform }

// NewPlatform returns a platform, the zero one for nil.
func NewPlatform(p *v1.Platform) Platform {
	if p == nil {
		return Platform{}
	}
	return Platform{*p}
}

// IsZero reports whether the platform is empty.
func (p Platform) IsZero() bool { return p.OS == "" && p.Architecture == "" }

// String returns os/architecture[/variant], "" for the zero Platform.
func (p Platform) String() string {
	if p.IsZero() {
		return ""
	}
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (p Platform) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Platform) UnmarshalText(text []byte) error {
	*p = Platform{}
	p.OS, p.Architecture, _ = strings.Cut(string(text), "/")
	p.Architecture, p.Variant, _ = strings.Cut(p.Architecture, "/")
	return nil
}
