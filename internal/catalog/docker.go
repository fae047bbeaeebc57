package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

const manifestJSON = "manifest.json"

// manifestItem is one image of manifest.json.
type manifestItem = image.Item

// loadManifestJSON returns the items of manifest.json, none if there is no such
// file.
func (c *Catalog) loadManifestJSON() ([]manifestItem, error) {
	if !c.files.Has(manifestJSON) {
		return nil, nil
	}
	data, err := c.files.ReadFile(manifestJSON, maxTableOfContents)
	if err != nil {
		return nil, err
	}
	if elements, ok := image.ReadItems(data); ok {
		c.elements = elements
		items := make([]manifestItem, len(elements))
		for i, e := range elements {
			items[i] = e.Value
		}
		return items, nil
	}
	var items []manifestItem
	if err := image.Decode(manifestJSON, data, &items); err != nil {
		return nil, err
	}
	return items, nil
}

// dockerImage is an image whose config and uncompressed layers are in the archive, but no
// manifest. One is made for it: schema 2, of diff IDs.
type dockerImage struct {
	layers *layerCache
	item   manifestItem
	// makeConfig returns the config and the layers in order, if the archive has
	// no config, else nil.
	makeConfig func(context.Context) ([]byte, []*layer, error)

	mu     sync.Mutex
	loaded *dockerParts // nil before it is needed
}

// dockerImage returns the image of an item in manifest.json.
func (c *Catalog) dockerImage(item manifestItem) *Image {
	return &Image{Names: item.RepoTags, contents: &dockerImage{layers: c.layers, item: item}}
}

// dockerParts are what a dockerImage consists of.
type dockerParts struct {
	config       []byte
	configDigest digest.Digest
	diffIDs      []digest.Digest // in order, perhaps with repetitions
	layers       map[digest.Digest]*layer
}

// load reads the config and finds the layers. It must be called with i.mu held.
func (i *dockerImage) load(ctx context.Context) (*dockerParts, error) {
	if i.loaded != nil {
		return i.loaded, nil
	}
	p := &dockerParts{layers: map[digest.Digest]*layer{}}
	var layers []*layer
	var err error
	if i.makeConfig != nil {
		p.config, layers, err = i.makeConfig(ctx)
	} else {
		p.config, layers, err = i.find()
	}
	if err != nil {
		return nil, err
	}
	p.configDigest = digest.FromBytes(p.config)
	if p.diffIDs, err = diffIDs(i.item.Config, p.config); err != nil {
		return nil, err
	}
	if len(p.diffIDs) != len(layers) {
		return nil, errdef.Errorf(errdef.ErrDamaged, "config %s has %d diff IDs, but manifest.json has %d layers", printable.String(i.item.Config), len(p.diffIDs), len(layers))
	}
	used := map[*layer]digest.Digest{}
	for n, diffID := range p.diffIDs {
		if other, ok := used[layers[n]]; ok && other != diffID {
			return nil, errdef.Errorf(errdef.ErrDamaged, "%s is listed as the layer for two diff IDs, %s and %s", printable.String(layers[n].Name), other, diffID)
		}
		used[layers[n]] = diffID
		if _, ok := p.layers[diffID]; !ok { // The first of several copies.
			p.layers[diffID] = layers[n]
		}
	}
	i.loaded = p
	return p, nil
}

// find returns the config and the layers that the item in manifest.json names.
func (i *dockerImage) find() ([]byte, []*layer, error) {
	config, err := i.layers.files.ReadFile(i.item.Config, image.MaxDocument)
	if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	if d, ok := digestInName(i.item.Config); ok { // Nothing else tells that it is not damaged.
		if err := verifyDocument(i.item.Config, config, d); err != nil {
			return nil, nil, fmt.Errorf("config: %w", err)
		}
	}
	layers := make([]*layer, len(i.item.Layers))
	for n, name := range i.item.Layers {
		if layers[n], err = i.layers.find(name); err != nil {
			return nil, nil, fmt.Errorf("layer %d of config %s: %w", n, printable.String(i.item.Config), err)
		}
	}
	return config, layers, nil
}

// diffIDs returns the diff IDs of a config, at least syntactically valid.
func diffIDs(name string, config []byte) ([]digest.Digest, error) {
	parsed, err := image.ParseConfig(name, config)
	if err != nil {
		return nil, err
	}
	if !parsed.HasRootFS {
		return nil, image.ErrNoRootFS(name)
	}
	return parsed.DiffIDs, nil
}

// Manifest implements contents.
func (i *dockerImage) Manifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	if instance != nil {
		return nil, "", fmt.Errorf("manifest %s: the image has one platform only", *instance)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	p, err := i.load(ctx)
	if err != nil {
		return nil, "", err
	}
	raw, err := p.makeManifest(ctx) // Each time: with thousands of layers, it takes megabytes.
	return raw, image.DockerManifest, err
}

// makeManifest writes a manifest of uncompressed layers that says so. The one of
// containers/image calls them compressed, which no registry forgives.
func (p *dockerParts) makeManifest(ctx context.Context) ([]byte, error) {
	type descriptor struct {
		MediaType string        `json:"mediaType"`
		Size      int64         `json:"size"`
		Digest    digest.Digest `json:"digest"`
	}
	var unmeasured []*layer
	for _, l := range p.layers {
		unmeasured = append(unmeasured, l)
	}
	if err := measure(ctx, unmeasured, false); err != nil {
		return nil, err
	}
	layers := []descriptor{} // Never null.
	for _, d := range p.diffIDs {
		layers = append(layers, descriptor{image.DockerLayer, p.layers[d].size, d})
	}
	return json.Marshal(struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}{2, image.DockerManifest, descriptor{image.DockerConfig, int64(len(p.config)), p.configDigest}, layers})
}

// Blob implements contents.
func (i *dockerImage) Blob(ctx context.Context, d digest.Digest) (Blob, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	p, err := i.load(ctx)
	if err != nil {
		return Blob{}, err
	}
	if d == p.configDigest {
		return Blob{Digest: d, Size: int64(len(p.config)), data: p.config}, nil
	}
	l, ok := p.layers[d]
	if !ok {
		return Blob{}, fmt.Errorf("the image has no blob %s: %w", d, fs.ErrNotExist)
	}
	if err := l.measure(ctx, false); err != nil {
		return Blob{}, err
	}
	return Blob{Digest: d, Size: l.size, file: l.stored}, nil
}

// digestInName returns the digest that the name of an entry says its content
// has: <hex>, <hex>.json, sha256:<hex> or blobs/<algorithm>/<hex>.
func digestInName(name string) (digest.Digest, bool) {
	dir, base := path.Split(path.Clean(name))
	if algorithm, ok := blobDir(dir); ok {
		return parsed(algorithm + ":" + base)
	}
	const digits = 64
	base = strings.TrimPrefix(base, "sha256:")
	if len(base) < digits {
		return "", false
	}
	switch suffix := base[digits:]; {
	case suffix == "":
	case len(suffix) == 1, suffix[0] != '.', strings.Trim(suffix, ".abcdefghijklmnopqrstuvwxyz") != "":
		return "", false
	}
	return parsed("sha256:" + base[:digits])
}

// parsed returns a digest, if s is one.
func parsed(s string) (d digest.Digest, ok bool) {
	d, err := image.ParseDigest(s)
	return d, err == nil
}

// configDigest returns the digest of the config of an item, which its name says
// in every known dialect.
func (c *Catalog) configDigest(item manifestItem) (digest.Digest, error) {
	if d, ok := digestInName(item.Config); ok {
		return d, nil
	}
	data, err := c.files.ReadFile(item.Config, image.MaxDocument)
	if err != nil {
		return "", fmt.Errorf("config: %w", err)
	}
	return digest.FromBytes(data), nil
}

// platform returns the platform in a config, nil if it has none.
func platform(config []byte) *v1.Platform {
	parsed, err := image.ParseConfig("", config)
	if err != nil || parsed.Platform.OS == "" && parsed.Platform.Architecture == "" {
		return nil
	}
	return &parsed.Platform
}
