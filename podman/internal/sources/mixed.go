package sources

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	ctrimage "go.podman.io/image/v5/image"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Parse parses an image of a source, or an instance of an index there. containers/image refuses
// Docker's manifests with OCI's types of layers or configs, which Docker and oras take, and the
// other way round. Parse returns such an image as if all types were of the manifest's standard:
// its Manifest is not the one of the source.
func Parse(ctx context.Context, sys *types.SystemContext, src types.ImageSource, instance *digest.Digest, unparsed *ctrimage.UnparsedImage) (types.Image, error) {
	raw, mimeType, err := unparsed.Manifest(ctx) // Verified.
	if err != nil {
		return nil, err
	}
	plain, layers := ofOneStandard(raw, mimeType)
	if plain == nil {
		return ctrimage.FromUnparsedImage(ctx, sys, unparsed)
	}
	img, err := ctrimage.FromUnparsedImage(ctx, sys, ctrimage.UnparsedInstance(&plainSource{src, instance, plain, mimeType}, nil))
	if err != nil {
		return nil, err
	}
	return mixedImage{img, layers}, nil
}

// mixedImage is an image with the types of another standard.
type mixedImage struct {
	types.Image
	layers []imgspecv1.Descriptor
}

// Inspect returns a summary, with the types that the layers have.
func (i mixedImage) Inspect(ctx context.Context) (*types.ImageInspectInfo, error) {
	info, err := i.Image.Inspect(ctx)
	if err == nil && len(info.LayersData) == len(i.layers) {
		for n, l := range i.layers {
			info.LayersData[n].MIMEType = l.MediaType
		}
	}
	return info, err
}

// ofOneStandard returns a manifest with the types of its own standard only, and its layers as
// they were; nil if containers/image takes it as it is.
func ofOneStandard(raw []byte, mimeType string) (plain []byte, was []imgspecv1.Descriptor) {
	document, err := image.ParseDocument(raw, mimeType)
	if err != nil || document.Config == nil {
		return nil, nil
	}
	config, layers := *document.Config, slices.Clone(document.Layers)
	changed := false
	switch {
	case mimeType == imgspecv1.MediaTypeImageManifest && config.MediaType == image.DockerConfig:
		config.MediaType, changed = imgspecv1.MediaTypeImageConfig, true
	case mimeType == image.DockerManifest && config.MediaType == imgspecv1.MediaTypeImageConfig:
		config.MediaType, changed = image.DockerConfig, true
	}
	for n, l := range layers {
		if mimeType == image.DockerManifest && strings.HasPrefix(l.MediaType, imgspecv1.MediaTypeImageLayer) {
			layers[n].MediaType, changed = image.DockerLayerGzip, true // The data tells how it is compressed.
		}
	}
	if !changed {
		return nil, nil
	}
	plain, err = json.Marshal(struct {
		SchemaVersion int                    `json:"schemaVersion"`
		MediaType     string                 `json:"mediaType"`
		Config        imgspecv1.Descriptor   `json:"config"`
		Layers        []imgspecv1.Descriptor `json:"layers"`
	}{2, mimeType, config, layers})
	if err != nil {
		return nil, nil
	}
	return plain, document.Layers
}

// plainSource is the source of one image, with another manifest.
type plainSource struct {
	types.ImageSource
	instance *digest.Digest
	manifest []byte
	mimeType string
}

// GetManifest returns the manifest.
func (s *plainSource) GetManifest(context.Context, *digest.Digest) ([]byte, string, error) {
	return s.manifest, s.mimeType, nil
}

// LayerInfosForCopy returns the layers that the source says.
func (s *plainSource) LayerInfosForCopy(ctx context.Context, _ *digest.Digest) ([]types.BlobInfo, error) {
	return s.ImageSource.LayerInfosForCopy(ctx, s.instance)
}

// Reference returns a reference without a digest, as the manifest would not have that one.
func (s *plainSource) Reference() types.ImageReference {
	return namelessReference{s.ImageSource.Reference()}
}

type namelessReference struct{ types.ImageReference }

// DockerReference returns nil.
func (namelessReference) DockerReference() reference.Named { return nil }
