package image

import (
	"iter"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// The media types of Docker's own documents and layers.
const (
	DockerManifest  = "application/vnd.docker.distribution.manifest.v2+json"
	DockerList      = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerConfig    = "application/vnd.docker.container.image.v1+json"
	DockerLayer     = "application/vnd.docker.image.rootfs.diff.tar"
	DockerLayerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	// The types of non-distributable layers, with or without a suffix for the compression.
	nonDistributable   = "application/vnd.oci.image.layer.nondistributable.v1.tar"
	dockerForeignLayer = "application/vnd.docker.image.rootfs.foreign.diff.tar"
	dockerSchema1      = "application/vnd.docker.distribution.manifest.v1+json"
	dockerSchema1JWS   = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// Document is a manifest or an index, of OCI or Docker: they differ by their
// fields only.
type Document struct {
	// Descriptor describes the document itself.
	Descriptor v1.Descriptor
	// Raw is the document as it was received, byte for byte.
	Raw []byte
	// Config is nil in an index.
	Config *v1.Descriptor
	// Layers are those of a manifest, lowest first, perhaps with repetitions.
	Layers []v1.Descriptor
	// Manifests are what an index lists.
	Manifests []v1.Descriptor
	// Subject is what the document is about, nil if that is nothing else.
	Subject *v1.Descriptor
	// ArtifactType is the type by which it is known then.
	ArtifactType string
	// Absent are layers that are kept elsewhere, at their URLs or in other archives, and
	// not with the document. It belongs to the caller of ParseDocument; nil is none.
	Absent map[digest.Digest]bool
	// LeftOut are those of Absent that are in other archives.
	LeftOut LeftOut
	index   bool
}

// Fields is what matters here of a manifest or an index.
type Fields struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Config        *v1.Descriptor  `json:"config"`
	Layers        []v1.Descriptor `json:"layers"`
	Manifests     []v1.Descriptor `json:"manifests"`
	Subject       *v1.Descriptor  `json:"subject"`
	ArtifactType  string          `json:"artifactType"`
	// Only Docker's schema 1 has it.
	FSLayers   []any `json:"fsLayers"`
	Signatures []any `json:"signatures"`
}

// IsIndex reports whether the document lists manifests.
func (f *Fields) IsIndex() bool { return f.Config == nil && f.Manifests != nil }

// Type returns what the document says it is, else described, what its descriptor
// says, else what its fields say.
func (f *Fields) Type(described string) string {
	switch {
	case f.MediaType != "":
		return f.MediaType
	case f.SchemaVersion == 1 && f.Signatures != nil:
		return dockerSchema1JWS
	case f.SchemaVersion == 1:
		return dockerSchema1
	case described != "":
		return described
	case f.IsIndex():
		return v1.MediaTypeImageIndex
	case f.Config != nil && f.Config.MediaType == DockerConfig:
		return DockerManifest
	}
	return v1.MediaTypeImageManifest
}

// ParseDocument parses a manifest or an index. described is the media type by
// which it is known elsewhere, or "". A document that looks like more than one
// thing is refused, because different programs would take it for different images
// (CVE-2021-41190). Types other than OCI's and Docker's schema 2 are not parsed: their
// Document has a Descriptor only.
func ParseDocument(raw []byte, described string) (*Document, error) {
	var f Fields
	if err := Decode("manifest", raw, &f); err != nil {
		return nil, err
	}
	d := &Document{
		Raw:        raw,
		Descriptor: v1.Descriptor{MediaType: f.Type(described), Digest: digest.FromBytes(raw), Size: int64(len(raw))},
	}
	if f.MediaType == "" && described == "" && f.SchemaVersion != 2 && f.SchemaVersion != 1 {
		d.Descriptor.MediaType = "" // Anything.
	}
	switch d.Descriptor.MediaType {
	case v1.MediaTypeImageIndex, DockerList:
		if f.Config != nil || f.Layers != nil || f.FSLayers != nil {
			return nil, errdef.Errorf(errdef.ErrDamaged, "an index that is a manifest as well is ambiguous")
		}
		if f.Manifests == nil {
			return nil, errdef.Errorf(errdef.ErrDamaged, "an index without a list of manifests")
		}
		d.index, d.Manifests = true, f.Manifests
	case v1.MediaTypeImageManifest, DockerManifest:
		if f.Manifests != nil || f.FSLayers != nil {
			return nil, errdef.Errorf(errdef.ErrDamaged, "a manifest that is an index or of schema 1 as well is ambiguous")
		}
		if f.Config == nil {
			return nil, errdef.Errorf(errdef.ErrDamaged, "a manifest without a config")
		}
		d.Config, d.Layers = f.Config, sharingTypes(f.Layers)
	default:
		return d, nil
	}
	d.Subject, d.ArtifactType = f.Subject, f.Artifact()
	return d, nil
}

// sharingTypes has layers of one media type share its bytes: there may be tens of thousands.
func sharingTypes(layers []v1.Descriptor) []v1.Descriptor {
	for i := range layers {
		if i > 0 && layers[i].MediaType == layers[i-1].MediaType {
			layers[i].MediaType = layers[i-1].MediaType
		}
	}
	return layers
}

// IsIndex reports whether the document is an index rather than a manifest.
func (d *Document) IsIndex() bool { return d.index }

// Kind says what a blob of an image is.
type Kind int

// The kinds of blobs.
const (
	KindLayer Kind = iota
	KindDelta      // what makes a layer that is not there
	KindConfig
	KindDocument // a manifest or an index
)

// Blob is a blob that an image consists of. Its Size is -1 if it is not known.
type Blob struct {
	v1.Descriptor
	Kind Kind
}

// Blobs ranges over the blobs that the document refers to, except for those Absent, and
// then itself, in the order of every archive that keeps it: layers, lowest first, or the
// deltas that make them, config, document. For an index, that is itself only: its
// manifests are documents of their own.
func (d *Document) Blobs() iter.Seq[Blob] {
	return func(yield func(Blob) bool) {
		for _, l := range d.Layers {
			b := Blob{l, KindLayer}
			if d.Absent[l.Digest] {
				delta := d.LeftOut[l.Digest].Delta
				if delta == nil {
					continue
				}
				b = Blob{v1.Descriptor{MediaType: delta.MediaType, Digest: delta.Digest, Size: delta.Size}, KindDelta}
			}
			if !yield(b) {
				return
			}
		}
		if d.Config != nil && !yield(Blob{*d.Config, KindConfig}) {
			return
		}
		yield(Blob{d.Descriptor, KindDocument})
	}
}

// MaxIndexDepth bounds indexes in indexes, for whatever reads or writes them: no tool is known
// that writes more than one within another.
const MaxIndexDepth = 8

// ErrDepth is returned by Order for indexes that are nested too deeply.
var ErrDepth = errdef.Errorf(errdef.ErrLimit, "more than %d indexes within each other", MaxIndexDepth)

// Order returns top and all documents that it leads to, each once and after what
// it lists, as archives have them. find returns a document by its digest, or nil
// for one that is not to be there.
func Order(top *Document, find func(v1.Descriptor) (*Document, error)) ([]*Document, error) {
	var ordered []*Document
	seen := map[digest.Digest]bool{}
	var visit func(d *Document, depth int) error
	visit = func(d *Document, depth int) error {
		if depth > MaxIndexDepth {
			return ErrDepth
		}
		for _, listed := range d.Manifests {
			if seen[listed.Digest] {
				continue
			}
			seen[listed.Digest] = true
			child, err := find(listed)
			if err != nil {
				return err
			}
			if child == nil {
				continue
			}
			if err := visit(child, depth+1); err != nil {
				return err
			}
		}
		ordered = append(ordered, d)
		return nil
	}
	seen[top.Descriptor.Digest] = true
	return ordered, visit(top, 0)
}
