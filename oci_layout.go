package dockerarchive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// containerdImageName is the annotation under which containerd, and Docker with
// it, look for the full name of an image.
const containerdImageName = "io.containerd.image.name"

// unknownPlatform is what BuildKit says of attestations, which look like images.
const unknownPlatform = "unknown"

// ociLayout is an OCI image layout in a tar that is a docker archive as well.
type ociLayout struct{}

func (ociLayout) decompresses() bool { return false }

func (ociLayout) keepsDigests() bool { return true }

func (ociLayout) blobName(d digest.Digest) string {
	return imgspecv1.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

func (ociLayout) manifestTypes() []string {
	return []string{
		imgspecv1.MediaTypeImageManifest, manifest.DockerV2Schema2MediaType,
		imgspecv1.MediaTypeImageIndex, manifest.DockerV2ListMediaType,
	}
}

func (ociLayout) newContents(sys *types.SystemContext) contents {
	return &ociContents{dockerIndex: newDockerIndex(), sys: sys}
}

// putConfig stores the config, and keeps it for manifest.json.
func (l ociLayout) putConfig(ctx context.Context, d *imageDestination, config []byte, configDigest digest.Digest) error {
	d.configs[configDigest] = config
	return d.putDocument(ctx, config, configDigest)
}

// putManifest stores a manifest, or an index after the manifests that it lists.
func (l ociLayout) putManifest(ctx context.Context, d *imageDestination, m []byte, instance *digest.Digest) error {
	mimeType := manifest.GuessMIMEType(m)
	if !slices.Contains(l.manifestTypes(), mimeType) {
		return types.ManifestTypeRejectedError{Err: fmt.Errorf("manifest type %q is neither OCI nor Docker schema 2", mimeType)}
	}
	manifestDigest := digest.FromBytes(m)
	if instance != nil {
		if err := instance.Validate(); err != nil {
			return err
		}
		manifestDigest = *instance
	}
	if _, err := d.collect(m, mimeType, manifestDigest); err != nil {
		return err
	}
	if err := d.putDocument(ctx, m, manifestDigest); err != nil {
		return err
	}
	d.manifests[manifestDigest] = m
	if instance == nil {
		d.top = manifestDigest
	}
	return nil
}

// putDocument stores a blob that is in memory.
func (d *imageDestination) putDocument(ctx context.Context, data []byte, blobDigest digest.Digest) error {
	_, err := d.putBlob(ctx, bytes.NewReader(data), types.BlobInfo{Digest: blobDigest, Size: int64(len(data))})
	return err
}

// collect returns what a manifest refers to, in the order of the archive. Of an
// index, those images that have been put.
func (d *imageDestination) collect(m []byte, mimeType string, manifestDigest digest.Digest) ([]digest.Digest, error) {
	var blobs []digest.Digest
	if manifest.MIMETypeIsMultiImage(mimeType) {
		list, err := manifest.ListFromBlob(m, mimeType)
		if err != nil {
			return nil, fmt.Errorf("parsing it: %w", err)
		}
		for _, instance := range list.Instances() {
			child, ok := d.manifests[instance]
			if !ok {
				continue
			}
			more, err := d.collect(child, manifest.GuessMIMEType(child), instance)
			if err != nil {
				return nil, err
			}
			blobs = append(append(blobs, more...), instance)
		}
		return blobs, nil
	}
	plan, err := planManifest(m, mimeType)
	if err != nil {
		return nil, fmt.Errorf("parsing it: %w", err)
	}
	for _, blob := range plan[:len(plan)-1] {
		if d.writer.blobs.get(blob.digest) == nil {
			return nil, fmt.Errorf("blob %s of manifest %s has not been written", blob.digest, manifestDigest)
		}
		blobs = append(blobs, blob.digest)
	}
	return blobs, nil
}

func (l ociLayout) complete(d *imageDestination, c contents) (*completeImage, error) {
	if d.top == "" {
		return nil, errors.New("its manifest has not been written")
	}
	m := d.manifests[d.top]
	mimeType := manifest.GuessMIMEType(m)
	blobs, err := d.collect(m, mimeType, d.top)
	if err != nil {
		return nil, err
	}
	var entries []*tarfile.Entry
	for _, blob := range append(blobs, d.top) {
		entries = append(entries, d.writer.blobs.get(blob).entry)
	}
	oci := c.(*ociContents)
	item, topLayer, err := d.dockerItem(oci.sys, m, mimeType)
	if err != nil {
		return nil, err
	}
	descriptor := imgspecv1.Descriptor{MediaType: mimeType, Digest: d.top, Size: int64(len(m))}
	return &completeImage{
		id:      d.top,
		entries: entries,
		files:   func() ([]tarfile.Small, error) { return nil, nil },
		add: func() {
			oci.name(descriptor, d.names)
			if item != nil {
				oci.dockerIndex.add(*item, d.names, topLayer)
			}
		},
	}, nil
}

// dockerItem returns what manifest.json says of an image, and the ID of its top
// legacy layer; nil if Docker could not run it.
func (d *imageDestination) dockerItem(sys *types.SystemContext, m []byte, mimeType string) (*manifestItem, string, error) {
	if manifest.MIMETypeIsMultiImage(mimeType) {
		list, err := manifest.ListFromBlob(m, mimeType)
		if err != nil {
			return nil, "", err
		}
		candidates := list.Instances()
		if preferred, err := list.ChooseInstance(sys); err == nil {
			candidates = append([]digest.Digest{preferred}, candidates...)
		}
		for _, candidate := range candidates {
			child, ok := d.manifests[candidate]
			if !ok {
				continue
			}
			if item, id, err := d.dockerItem(sys, child, manifest.GuessMIMEType(child)); item != nil || err != nil {
				return item, id, err
			}
		}
		return nil, "", nil
	}
	parsed, err := manifest.FromBlob(m, mimeType)
	if err != nil {
		return nil, "", err
	}
	return d.dockerItemOf(parsed)
}

func (d *imageDestination) dockerItemOf(m manifest.Manifest) (*manifestItem, string, error) {
	info := m.ConfigInfo()
	raw, ok := d.configs[info.Digest]
	if !ok || !isImageConfig(info.MediaType) {
		return nil, "", nil
	}
	var config imgspecv1.Image
	infos := m.LayerInfos()
	if json.Unmarshal(raw, &config) != nil || config.OS == unknownPlatform || len(config.RootFS.DiffIDs) != len(infos) {
		return nil, "", nil
	}
	layout := ociLayout{}
	item := &manifestItem{Config: layout.blobName(info.Digest), RepoTags: []string{}, Layers: []string{}}
	for i, layer := range infos {
		item.Layers = append(item.Layers, layout.blobName(layer.Digest))
		if len(layer.URLs) == 0 {
			continue
		}
		if item.LayerSources == nil {
			item.LayerSources = map[digest.Digest]imgspecv1.Descriptor{}
		}
		item.LayerSources[config.RootFS.DiffIDs[i]] = imgspecv1.Descriptor{
			MediaType: layer.MediaType, Digest: layer.Digest, Size: layer.Size, URLs: layer.URLs,
		}
	}
	legacy, err := legacyLayers(raw, config.RootFS.DiffIDs)
	if err != nil {
		return nil, "", err
	}
	return item, topLayerID(legacy), nil
}

// ociContents is the metadata of an archive in the OCI layout.
type ociContents struct {
	dockerIndex
	sys         *types.SystemContext // says which platform Docker is offered
	descriptors []imgspecv1.Descriptor
}

func (c *ociContents) empty() bool { return len(c.descriptors) == 0 }

// name adds an image to index.json, once for every name.
func (c *ociContents) name(image imgspecv1.Descriptor, names []reference.Named) {
	if len(names) == 0 {
		c.addDescriptor(image)
	}
	for _, name := range names {
		named := image
		named.Annotations = map[string]string{containerdImageName: name.String()}
		if tagged, ok := name.(reference.Tagged); ok {
			named.Annotations[imgspecv1.AnnotationRefName] = tagged.Tag()
		}
		c.addDescriptor(named)
	}
}

func (c *ociContents) addDescriptor(d imgspecv1.Descriptor) {
	if !slices.ContainsFunc(c.descriptors, func(known imgspecv1.Descriptor) bool {
		return known.Digest == d.Digest && known.Annotations[containerdImageName] == d.Annotations[containerdImageName]
	}) {
		c.descriptors = append(c.descriptors, d)
	}
}

// head starts with the file that tells an OCI layout.
func (c *ociContents) head() ([]tarfile.Small, error) {
	files := make([]tarfile.Small, 0, 3)
	version, err := jsonFile(imgspecv1.ImageLayoutFile, imgspecv1.ImageLayout{Version: imgspecv1.ImageLayoutVersion})
	if err != nil {
		return nil, err
	}
	files = append(files, version)
	for _, name := range []string{imgspecv1.ImageBlobsDir, imgspecv1.ImageBlobsDir + "/" + digest.Canonical.String()} {
		header, err := directoryHeader(name)
		if err != nil {
			return nil, err
		}
		files = append(files, tarfile.Small{Header: header})
	}
	return files, nil
}

func (c *ociContents) tail() ([]tarfile.Small, error) {
	index, err := jsonFile(imgspecv1.ImageIndexFile, imgspecv1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: imgspecv1.MediaTypeImageIndex,
		Manifests: c.descriptors,
	})
	if err != nil {
		return nil, err
	}
	if c.dockerIndex.empty() { // Only artifacts: nothing that docker load could use.
		return []tarfile.Small{index}, nil
	}
	files, err := c.dockerIndex.files(false)
	return append([]tarfile.Small{index}, files...), err
}
