// Package image is what an image is: manifests, indexes, configs and layers, and
// the one order in which archives have them. It knows nothing of tar, of files, or
// of where images come from.
package image

import (
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// Image is an image of one platform, or an index with its images, under the names
// that it has in an archive.
type Image struct {
	// Names are full references: domain/path:tag, domain/path@digest or both.
	Names []string
	// Documents are the manifests and indexes of the image as Order has them. The
	// last one is the image's own.
	Documents []*Document
	// Configs are the configs, as they were received, by digest. One that is not
	// there is of something else than an image.
	Configs map[digest.Digest][]byte
	// Origins are what is known of images by the digests of their configs; nil if
	// nothing is.
	Origins map[digest.Digest]Origin
}

// Top returns the manifest or index of the image.
func (i *Image) Top() *Document { return i.Documents[len(i.Documents)-1] }

// Digest returns the digest of the manifest or index.
func (i *Image) Digest() digest.Digest { return i.Top().Descriptor.Digest }

// Find returns a document of the image, or nil.
func (i *Image) Find(d digest.Digest) *Document {
	for _, document := range i.Documents {
		if document.Descriptor.Digest == d {
			return document
		}
	}
	return nil
}

// Blobs yields all blobs of the image in the order of an archive that keeps them
// all. Blobs that occur twice in the image are yielded twice.
func (i *Image) Blobs() iter.Seq[Blob] { return BlobsOf(i.Documents) }

// BlobsOf yields the blobs of documents in the order of an archive.
func BlobsOf(documents []*Document) iter.Seq[Blob] {
	return func(yield func(Blob) bool) {
		for _, d := range documents {
			for b := range d.Blobs() {
				if !yield(b) {
					return
				}
			}
		}
	}
}

// IsImage reports whether a manifest is of an image, and not of another kind of
// artifact: its config says so, even with another media type.
func (i *Image) IsImage(manifest *Document) bool { return IsConfig(i.Configs[manifest.Config.Digest]) }

// IsConfig reports whether a document is the config of an image: whether it has a root
// file system, whatever is wrong with that.
func IsConfig(raw []byte) bool {
	var fields struct {
		RootFS json.RawMessage `json:"rootfs"` // It may have digests that are none.
	}
	return Decode("config", raw, &fields) == nil && len(fields.RootFS) > 0 && string(fields.RootFS) != "null"
}

// DigestInName returns the digest by which a name of an image calls it, if it does.
func DigestInName(name string) (d digest.Digest, ok bool) {
	_, after, _ := strings.Cut(name, "@")
	d, err := digest.Parse(after)
	return d, err == nil
}

// Layer is a layer of an image.
type Layer struct {
	v1.Descriptor               // as its source has it
	DiffID        digest.Digest // of its uncompressed content
}

// Layers returns the layers of a manifest with the diff IDs that its config has
// for them. It fails if the two disagree on how many there are.
func (i *Image) Layers(manifest *Document) ([]Layer, error) {
	d := manifest.Config.Digest
	raw, ok := i.Configs[d]
	if !ok {
		return nil, fmt.Errorf("its config %s has not been written", d)
	}
	config, err := ParseConfig(d.String(), raw)
	if err != nil {
		return nil, err
	}
	if !config.HasRootFS {
		return nil, ErrNoRootFS(d.String())
	}
	if len(config.DiffIDs) != len(manifest.Layers) {
		return nil, errdef.Errorf(errdef.ErrDamaged, "config %s lists %d layers, the manifest %d", d, len(config.DiffIDs), len(manifest.Layers))
	}
	layers := make([]Layer, len(manifest.Layers))
	for n, l := range manifest.Layers {
		layers[n] = Layer{l, config.DiffIDs[n]}
	}
	return layers, nil
}

// UnknownPlatform is what BuildKit says of attestations, which look like images.
const UnknownPlatform = "unknown"

// Config is what matters here of the config of an image.
type Config struct {
	Platform v1.Platform
	// HasRootFS is false for the config of something else than an image.
	HasRootFS bool
	DiffIDs   []digest.Digest
	Created   *time.Time // nil if that is not said
}

// configFields is what is read of the JSON of a config; its name is for errors.
type configFields struct {
	Architecture string          `json:"architecture"`
	OS           string          `json:"os"`
	OSVersion    json.RawMessage `json:"os.version"`
	OSFeatures   json.RawMessage `json:"os.features"`
	Variant      string          `json:"variant"`
	Created      json.RawMessage `json:"created"`
	RootFS       *struct {
		DiffIDs []digest.Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

// ParseConfig reads the fields of a config that are needed: the others are not the
// business of an archive. name is for errors.
func ParseConfig(name string, raw []byte) (*Config, error) {
	var fields configFields
	if err := Decode("config "+name, raw, &fields); err != nil {
		return nil, err
	}
	config := &Config{HasRootFS: fields.RootFS != nil}
	if config.HasRootFS {
		config.DiffIDs = fields.RootFS.DiffIDs
	}
	config.Platform = v1.Platform{OS: fields.OS, Architecture: fields.Architecture, Variant: fields.Variant}
	// Said by some in other forms; an archive needs neither.
	_ = json.Unmarshal(fields.OSVersion, &config.Platform.OSVersion)
	_ = json.Unmarshal(fields.OSFeatures, &config.Platform.OSFeatures)
	if json.Unmarshal(fields.Created, &config.Created) != nil {
		config.Created = nil
	}
	return config, nil
}

// ErrNoRootFS returns the error for a config that should be of an image.
func ErrNoRootFS(name string) error {
	return errdef.Errorf(errdef.ErrDamaged, "config %s is not of an image: it has no rootfs", printable.String(name))
}

// IsConfigType reports whether a media type is that of an image's config. There are
// images whose configs have others: IsConfig decides.
func IsConfigType(mediaType string) bool {
	return mediaType == v1.MediaTypeImageConfig || mediaType == DockerConfig
}

// IsPlain reports whether a media type says that a layer is not compressed. Not all
// that say so are right.
func IsPlain(mediaType string) bool {
	return mediaType == v1.MediaTypeImageLayer || mediaType == DockerLayer
}

// IsNonDistributable reports whether a media type is that of a layer that its owner
// does not want to be passed on: OCI's, which are deprecated, or Docker's.
func IsNonDistributable(mediaType string) bool {
	return strings.HasPrefix(mediaType, nonDistributable) || strings.HasPrefix(mediaType, dockerForeignLayer)
}

// PlatformString returns os/architecture[/variant], or "" if p is nil or empty.
func PlatformString(p *v1.Platform) string {
	if p == nil || p.OS == "" && p.Architecture == "" {
		return ""
	}
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}
