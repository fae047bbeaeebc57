package catalog

import (
	"fmt"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	// The algorithms that digests may use.
	_ "crypto/sha256"
	_ "crypto/sha512"
)

// The media types of Docker's own manifests.
const (
	schema2ManifestType = "application/vnd.docker.distribution.manifest.v2+json"
	schema2ListType     = "application/vnd.docker.distribution.manifest.list.v2+json"
	schema2ConfigType   = "application/vnd.docker.container.image.v1+json"
	schema2LayerType    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// document is a manifest or an index, of OCI or Docker: they differ by their
// fields only.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Config        *v1.Descriptor  `json:"config"`
	Layers        []v1.Descriptor `json:"layers"`
	Manifests     []v1.Descriptor `json:"manifests"`
}

// isIndex reports whether d lists manifests.
func (d *document) isIndex() bool {
	return d.Config == nil && d.Manifests != nil
}

// mediaType returns what the document says it is, else what its descriptor
// says, else what its fields say.
func (d *document) mediaType(descriptor string) string {
	switch {
	case d.MediaType != "":
		return d.MediaType
	case descriptor != "":
		return descriptor
	case d.isIndex():
		return v1.MediaTypeImageIndex
	}
	return v1.MediaTypeImageManifest
}

// imageConfig is what matters here of a config.
type imageConfig struct {
	v1.Platform
	RootFS *v1.RootFS `json:"rootfs"`
}

// PlatformString returns os/architecture[/variant], or "" if p is nil or empty.
func PlatformString(p *v1.Platform) string {
	if p == nil || p.OS == "" && p.Architecture == "" {
		return ""
	}
	s := fmt.Sprintf("%s/%s", p.OS, p.Architecture)
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}
