package image

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// A Lookup returns how the blob of a layer is compressed. ok is false if that is not
// known, or nothing follows from it.
type Lookup func(layer v1.Descriptor) (algorithm compression.Algorithm, ok bool)

// CheckLayers compares the layers of a manifest with the diff IDs of its config, as far
// as that can be done without unpacking any: the digest of an uncompressed layer is its
// diff ID, and that of a compressed one is not.
func CheckLayers(layers []v1.Descriptor, ids []digest.Digest, lookup Lookup) error {
	if len(ids) != len(layers) {
		return errdef.Errorf(errdef.ErrDamaged, "the manifest lists %d layers, but its config has %d diff IDs", len(layers), len(ids))
	}
	for n, l := range layers {
		if IsEncrypted(l) || l.Digest.Algorithm() != ids[n].Algorithm() {
			continue
		}
		algorithm, ok := lookup(l)
		plain := algorithm == compression.None
		switch {
		case !ok, plain && l.Digest == ids[n], !plain && l.Digest != ids[n]: // In the last case, only reading the layer can tell.
			continue
		case !plain:
			return errdef.Errorf(errdef.ErrDamaged, "its config has %s for the diff ID of layer %d, which is the digest of the layer as it is compressed", ids[n], n)
		}
		if slices.Contains(ids, l.Digest) {
			return errdef.Errorf(errdef.ErrDamaged, "the manifest lists the layers in another order than the config: layer %d is %s instead of %s", n, l.Digest, ids[n])
		}
		return errdef.Errorf(errdef.ErrDamaged, "layer %d of the manifest, %s, is not compressed, but its config has the diff ID %s", n, l.Digest, ids[n])
	}
	return nil
}

// IsEncrypted reports whether a layer's type says that unpacking it takes a key.
func IsEncrypted(l v1.Descriptor) bool { return strings.HasSuffix(l.MediaType, "+encrypted") }

// CheckType returns what is wrong with the media type of a layer whose blob is
// compressed with algorithm.
func CheckType(l v1.Descriptor, algorithm compression.Algorithm) error {
	if said, ok := compressionOf(l.MediaType); ok && said != algorithm {
		return errdef.Errorf(errdef.ErrDamaged, "blob %s has the media type %s, but its compression is %s", l.Digest, printable.String(l.MediaType), algorithm)
	}
	return nil
}

// compressionOf returns the compression that a layer's media type tells. ok is
// false if it tells none.
func compressionOf(mediaType string) (algorithm compression.Algorithm, ok bool) {
	switch {
	case mediaType == "" || !IsLayerType(mediaType):
		return compression.None, false
	case strings.HasSuffix(mediaType, "+gzip"), strings.HasSuffix(mediaType, ".gzip"):
		return compression.Gzip, true
	case strings.HasSuffix(mediaType, "+zstd"), strings.HasSuffix(mediaType, ".zstd"):
		return compression.Zstd, true
	case strings.HasSuffix(mediaType, ".tar"):
		return compression.None, true
	}
	return compression.None, false
}

// Truthful returns a manifest that containers/image made up for an image without one,
// with the media types that its layers really have. It calls all of them compressed,
// although the digest of each is its diff ID. Any other manifest is returned as it is:
// others may know it by its digest.
func Truthful(manifest, config []byte) []byte {
	d, err := ParseDocument(manifest, "")
	if err != nil || d.Config == nil || len(d.Layers) == 0 {
		return manifest
	}
	parsed, err := ParseConfig(d.Config.Digest.String(), config)
	if err != nil || len(parsed.DiffIDs) != len(d.Layers) {
		return manifest
	}
	for n, l := range d.Layers {
		if l.Digest != parsed.DiffIDs[n] || l.MediaType != DockerLayerGzip && l.MediaType != v1.MediaTypeImageLayerGzip {
			return manifest
		}
	}
	if !isMadeUp(manifest, d) {
		return manifest
	}
	for _, falseAndTrue := range [][2]string{{DockerLayerGzip, DockerLayer}, {v1.MediaTypeImageLayerGzip, v1.MediaTypeImageLayer}} {
		manifest = bytes.ReplaceAll(manifest, []byte(`"`+falseAndTrue[0]+`"`), []byte(`"`+falseAndTrue[1]+`"`))
	}
	return manifest
}

// isMadeUp reports whether a manifest has nothing but what can be told from a config
// and uncompressed layers, written as containers/image writes it.
func isMadeUp(manifest []byte, d *Document) bool {
	type descriptor struct {
		MediaType string        `json:"mediaType"`
		Size      int64         `json:"size"`
		Digest    digest.Digest `json:"digest"`
	}
	type ociDescriptor struct {
		MediaType string        `json:"mediaType"`
		Digest    digest.Digest `json:"digest"`
		Size      int64         `json:"size"`
	}
	layers := make([]descriptor, len(d.Layers))
	ociLayers := make([]ociDescriptor, len(d.Layers))
	for n, l := range d.Layers {
		layers[n] = descriptor{l.MediaType, l.Size, l.Digest}
		ociLayers[n] = ociDescriptor{l.MediaType, l.Digest, l.Size}
	}
	type made struct {
		SchemaVersion int    `json:"schemaVersion"`
		MediaType     string `json:"mediaType"`
		Config        any    `json:"config"`
		Layers        any    `json:"layers"`
	}
	c := *d.Config
	own := made{2, d.Descriptor.MediaType, descriptor{c.MediaType, c.Size, c.Digest}, layers}
	if d.Descriptor.MediaType == v1.MediaTypeImageManifest {
		own.Config, own.Layers = ociDescriptor{c.MediaType, c.Digest, c.Size}, ociLayers
	}
	want, err := json.Marshal(own)
	return err == nil && bytes.Equal(want, manifest)
}
