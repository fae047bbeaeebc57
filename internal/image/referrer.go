package image

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotations in index.json of referrers: manifests that are about another one, such
// as a signature, an SBOM or an attestation.
const (
	// AnnotationSubject is the digest of a referrer's subject. containerd and Docker,
	// which write it too, make no image of a descriptor that has it.
	AnnotationSubject = "io.containerd.manifest.subject"
	// AnnotationTag is the full name of a digest tag. It stands where no client looks
	// for the name of an image: containerd would take a signature for one, and fail to
	// unpack it.
	AnnotationTag = "io.github.dockerarchive.tag"
)

// The kinds of tags that are made of a digest.
const (
	// TagReferrers is that of the referrers tag schema of OCI's distribution
	// specification: an index of referrers, for registries without the API.
	TagReferrers = ""
	// TagSignature, TagAttestation and TagSBOM are cosign's.
	TagSignature   = ".sig"
	TagAttestation = ".att"
	TagSBOM        = ".sbom"
)

// DigestTag returns the tag under which a registry has something about a digest. kind
// is one of the Tag constants.
func DigestTag(d digest.Digest, kind string) string {
	const longest = 64 // of the digest, as the referrers tag schema has it
	hex := d.Encoded()
	if kind == TagReferrers && len(hex) > longest {
		hex = hex[:longest]
	}
	return d.Algorithm().String() + "-" + hex + kind
}

// ParseDigestTag returns which digest something in a registry is about that has this
// name, which may be a full one. ok is false for other names.
func ParseDigestTag(name string) (subject digest.Digest, kind string, ok bool) {
	tag := name[strings.LastIndexByte(name, ':')+1:]
	algorithm, rest, _ := strings.Cut(tag, "-")
	hex, _, hasKind := strings.Cut(rest, ".")
	if hasKind {
		kind = rest[len(hex):]
	}
	if algorithm == tag { // As most names.
		return "", "", false
	}
	subject, err := ParseDigest(algorithm + ":" + hex)
	if err != nil || !slices.Contains([]string{TagReferrers, TagSignature, TagAttestation, TagSBOM}, kind) {
		return "", "", false
	}
	return subject, kind, true
}

// IsLayerType reports whether a media type is that of a layer of an image. An empty
// type may be one.
func IsLayerType(mediaType string) bool {
	return mediaType == "" || strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.") ||
		strings.HasPrefix(mediaType, "application/vnd.docker.image.rootfs.")
}

// HasOtherLayers reports whether there are layers, and none has the type of a layer of
// an image: cosign's signatures have configs like an image's.
func HasOtherLayers(layers []v1.Descriptor) bool {
	return len(layers) > 0 && !slices.ContainsFunc(layers, func(l v1.Descriptor) bool { return IsLayerType(l.MediaType) })
}

// Artifact returns the type by which referrers are known: the document's own or, if a
// manifest has none, that of its config.
func (f *Fields) Artifact() string {
	if f.ArtifactType == "" && f.Config != nil {
		return f.Config.MediaType
	}
	return f.ArtifactType
}

// Content is Artifact for people: where the config says no more than that this could be
// an image, the type of the first layer tells what it is.
func (f *Fields) Content() string {
	t := f.Artifact()
	if (t == "" || IsConfigType(t)) && HasOtherLayers(f.Layers) {
		return f.Layers[0].MediaType
	}
	return t
}
