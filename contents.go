package dockerarchive

import (
	"encoding/json"
	"slices"

	"github.com/containers/image/v5/docker/reference"
	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// imageState is how far an image of a Writer has come.
type imageState int

const (
	imageIdle      imageState = iota // there is a reference, and no destination for it
	imageOpen                        // a destination is being written to
	imageCommitted                   // complete
	imageSealed                      // in the archive
)

// archiveImage is an image of a Writer.
type archiveImage struct {
	state    imageState
	metadata *imageMetadata  // while committed
	slots    []*tarfile.Slot // places of the layers that are planned to be new with it
	end      *tarfile.Slot   // place of its metadata; nil if it is not planned
}

// releaseSlots gives up the planned places that nothing was written to.
func (i *archiveImage) releaseSlots() error {
	for _, slot := range i.slots {
		if err := slot.Release(); err != nil {
			return err
		}
	}
	i.slots = nil
	return nil
}

func (i *archiveImage) releaseAll() error {
	err := i.releaseSlots()
	if err == nil && i.end != nil {
		err = i.end.Release()
	}
	return err
}

// imageMetadata is what an archive says of an image.
type imageMetadata struct {
	config       []byte
	configDigest digest.Digest
	layers       []*storedLayer // lowest first; a layer may occur more than once
	names        []reference.NamedTagged
	legacy       []legacyLayer
}

func newImageMetadata(config []byte, configDigest digest.Digest, layers []*storedLayer, names []reference.NamedTagged) (*imageMetadata, error) {
	diffIDs := make([]digest.Digest, len(layers))
	for i, layer := range layers {
		diffIDs[i] = layer.diffID
	}
	legacy, err := legacyLayers(config, diffIDs)
	if err != nil {
		return nil, err
	}
	return &imageMetadata{config: config, configDigest: configDigest, layers: layers, names: names, legacy: legacy}, nil
}

func (m *imageMetadata) entries() []*tarfile.Entry {
	entries := make([]*tarfile.Entry, len(m.layers))
	for i, layer := range m.layers {
		entries[i] = layer.entry
	}
	return entries
}

// manifestItem is an element of manifest.json.
type manifestItem struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// contents is what an archive holds, apart from layers.
type contents struct {
	items        []manifestItem // one per distinct config
	itemByConfig map[digest.Digest]int
	repositories map[string]map[string]string // name, tag, ID of the top legacy layer
	legacyIDs    map[string]struct{}
}

func newContents() contents {
	return contents{
		itemByConfig: map[digest.Digest]int{},
		repositories: map[string]map[string]string{},
		legacyIDs:    map[string]struct{}{},
	}
}

// filesOf returns the files that an image adds: its config and the legacy
// directories that no other image has.
func (c *contents) filesOf(m *imageMetadata) ([]tarfile.Small, error) {
	if _, ok := c.itemByConfig[m.configDigest]; ok {
		return nil, nil
	}
	config, err := smallFile(configFileName(m.configDigest), m.config)
	if err != nil {
		return nil, err
	}
	files := []tarfile.Small{config}
	for _, layer := range m.legacy {
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

// add records an image whose files have been written, or another name for one
// that is there.
func (c *contents) add(m *imageMetadata) {
	i, ok := c.itemByConfig[m.configDigest]
	if !ok {
		i = len(c.items)
		c.itemByConfig[m.configDigest] = i
		item := manifestItem{Config: configFileName(m.configDigest), RepoTags: []string{}, Layers: []string{}}
		for _, layer := range m.layers {
			item.Layers = append(item.Layers, layerFileName(layer.diffID))
		}
		c.items = append(c.items, item)
	}
	for _, layer := range m.legacy {
		c.legacyIDs[layer.id] = struct{}{}
	}
	for _, name := range m.names {
		// With the host and the repository in full, so that clients with other
		// defaults for them understand the same.
		full := name.Name() + ":" + name.Tag()
		if !slices.Contains(c.items[i].RepoTags, full) {
			c.items[i].RepoTags = append(c.items[i].RepoTags, full)
		}
		if len(m.legacy) == 0 {
			continue
		}
		if c.repositories[name.Name()] == nil {
			c.repositories[name.Name()] = map[string]string{}
		}
		c.repositories[name.Name()][name.Tag()] = m.legacy[len(m.legacy)-1].id
	}
}

// tail returns the files that an archive ends with.
func (c *contents) tail() ([]tarfile.Small, error) {
	manifest, err := json.Marshal(c.items)
	if err != nil {
		return nil, err
	}
	repositories, err := json.Marshal(c.repositories)
	if err != nil {
		return nil, err
	}
	manifestFile, err := smallFile(manifestFileName, manifest)
	if err != nil {
		return nil, err
	}
	repositoriesFile, err := smallFile(repositoriesFileName, repositories)
	return []tarfile.Small{manifestFile, repositoriesFile}, err
}
