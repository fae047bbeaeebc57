package dockerarchive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// dockerLayout is the layout of docker save before Docker 25, as containers/image
// writes it.
type dockerLayout struct{}

func (dockerLayout) decompresses() bool { return true }

func (dockerLayout) keepsDigests() bool { return false }

// blobName returns a name that is not in a directory, because docker load takes
// every directory for a legacy layer.
func (dockerLayout) blobName(diffID digest.Digest) string { return diffID.Encoded() + ".tar" }

func (dockerLayout) manifestTypes() []string {
	return []string{imgspecv1.MediaTypeImageManifest, manifest.DockerV2Schema2MediaType}
}

func (dockerLayout) newContents(*types.SystemContext) contents {
	return &dockerContents{dockerIndex: newDockerIndex(), legacyIDs: map[string]struct{}{}}
}

// putConfig keeps the config until the image is complete.
func (dockerLayout) putConfig(_ context.Context, d *imageDestination, config []byte, configDigest digest.Digest) error {
	d.configs = map[digest.Digest][]byte{configDigest: config}
	return nil
}

// putManifest checks that the archive can hold the image and has all of it. The
// manifest itself is not kept.
func (l dockerLayout) putManifest(_ context.Context, d *imageDestination, m []byte, instance *digest.Digest) error {
	mimeType := manifest.GuessMIMEType(m)
	if manifest.MIMETypeIsMultiImage(mimeType) || instance != nil {
		return errors.New("an archive of this kind holds single-platform images, not a manifest list or an index; choose a platform, or write an image-archive")
	}
	if !slices.Contains(l.manifestTypes(), mimeType) {
		return types.ManifestTypeRejectedError{Err: fmt.Errorf("manifest type %q is neither OCI nor Docker schema 2", mimeType)}
	}
	parsed, err := manifest.FromBlob(m, mimeType)
	if err != nil {
		return fmt.Errorf("parsing it: %w", err)
	}
	if config := parsed.ConfigInfo(); !isImageConfig(config.MediaType) {
		return errNoImage(config.MediaType)
	}
	if _, err := d.findLayers(parsed); err != nil {
		return err
	}
	d.manifest = parsed
	return nil
}

func errNoImage(mediaType string) error {
	return fmt.Errorf("its config is of type %q, so this is not a container image but an artifact, which an archive of this kind cannot hold; write an image-archive instead", mediaType)
}

func isImageConfig(mediaType string) bool {
	return mediaType == imgspecv1.MediaTypeImageConfig || mediaType == manifest.DockerV2Schema2ConfigMediaType
}

// findLayers returns the layers of the image, checked against its config.
func (d *imageDestination) findLayers(m manifest.Manifest) ([]*storedBlob, error) {
	configDigest := m.ConfigInfo().Digest
	diffIDs, err := d.diffIDs(configDigest)
	if err != nil {
		return nil, err
	}
	infos := m.LayerInfos()
	if len(diffIDs) != len(infos) {
		return nil, fmt.Errorf("config %s lists %d layers, the manifest %d", configDigest, len(diffIDs), len(infos))
	}
	layers := make([]*storedBlob, len(infos))
	for i, info := range infos {
		layer := d.writer.blobs.get(info.Digest)
		switch {
		case strings.HasSuffix(info.MediaType, "+encrypted"):
			return nil, fmt.Errorf("layer %s is encrypted; decrypt the image while copying it", info.Digest)
		case layer == nil:
			return nil, fmt.Errorf("layer %s has not been written", info.Digest)
		case layer.digest != diffIDs[i]:
			return nil, fmt.Errorf("layer %s has the diff ID %s, but config %s says %s", info.Digest, layer.digest, configDigest, diffIDs[i])
		}
		layers[i] = layer
	}
	return layers, nil
}

// diffIDs returns what a config that has been put says of the layers.
func (d *imageDestination) diffIDs(configDigest digest.Digest) ([]digest.Digest, error) {
	raw, ok := d.configs[configDigest]
	if !ok {
		return nil, fmt.Errorf("its config %s has not been written", configDigest)
	}
	var config imgspecv1.Image
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("parsing config %s: %w", configDigest, err)
	}
	return config.RootFS.DiffIDs, nil
}

func (l dockerLayout) complete(d *imageDestination, c contents) (*completeImage, error) {
	layers, err := d.findLayers(d.manifest)
	if err != nil {
		return nil, err
	}
	configDigest := d.manifest.ConfigInfo().Digest
	image := &dockerImage{config: d.configs[configDigest], configDigest: configDigest, names: d.names}
	entries := make([]*tarfile.Entry, len(layers))
	var diffIDs []digest.Digest
	for i, layer := range layers {
		entries[i] = layer.entry
		diffIDs = append(diffIDs, layer.digest)
	}
	if image.legacy, err = legacyLayers(image.config, diffIDs); err != nil {
		return nil, err
	}
	docker := c.(*dockerContents)
	return &completeImage{
		id:      configDigest,
		entries: entries,
		files:   func() ([]tarfile.Small, error) { return docker.filesOf(image) },
		add:     func() { docker.add(image) },
	}, nil
}

// dockerImage is what an archive says of an image.
type dockerImage struct {
	config       []byte
	configDigest digest.Digest
	names        []reference.Named
	legacy       []legacyLayer // lowest first
}

// dockerContents is the metadata of an archive in the docker layout.
type dockerContents struct {
	dockerIndex
	legacyIDs map[string]struct{}
}

func (c *dockerContents) head() ([]tarfile.Small, error) { return nil, nil }

func (c *dockerContents) tail() ([]tarfile.Small, error) {
	return c.dockerIndex.files(true)
}

// filesOf returns the files that an image adds: its config and the legacy
// directories that no other image has.
func (c *dockerContents) filesOf(image *dockerImage) ([]tarfile.Small, error) {
	name := configFileName(image.configDigest)
	if c.has(name) {
		return nil, nil
	}
	config, err := smallFile(name, image.config)
	if err != nil {
		return nil, err
	}
	files := []tarfile.Small{config}
	for _, layer := range image.legacy {
		if _, ok := c.legacyIDs[layer.id]; ok {
			continue
		}
		entries, err := layer.entries()
		if err != nil {
			return nil, err
		}
		files = append(files, entries...)
	}
	return files, nil
}

// add records an image whose files have been written, or other names for one
// that is there.
func (c *dockerContents) add(image *dockerImage) {
	item := manifestItem{Config: configFileName(image.configDigest), RepoTags: []string{}, Layers: []string{}}
	for _, layer := range image.legacy {
		item.Layers = append(item.Layers, dockerLayout{}.blobName(layer.diffID))
		c.legacyIDs[layer.id] = struct{}{}
	}
	c.dockerIndex.add(item, image.names, topLayerID(image.legacy))
}

func configFileName(config digest.Digest) string { return config.Encoded() + ".json" }
