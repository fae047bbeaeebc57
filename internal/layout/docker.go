package layout

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"path"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// Docker is the layout of docker save before Docker 25, as containers/image
// writes it.
type Docker struct{ Metadata Metadata }

// Unpacks is true.
func (Docker) Unpacks() bool { return true }

// Types returns manifests only.
func (Docker) Types() []string { return []string{v1.MediaTypeImageManifest, image.DockerManifest} }

// BlobName returns a name that is not in a directory, because docker load takes
// every directory for a legacy layer.
func (Docker) BlobName(diffID digest.Digest) string { return diffID.Encoded() + ".tar" }

// ConfigName implements Layout.
func (Docker) ConfigName(d digest.Digest) string { return d.Encoded() + ".json" }

// NeedsFiles is true: every image has some.
func (Docker) NeedsFiles(digest.Digest) bool { return true }

// BlobHeader describes a layer.
func (l Docker) BlobHeader(diffID digest.Digest, size int64) (*tar.Header, error) {
	return l.Metadata.File(l.BlobName(diffID), size)
}

// Check refuses indexes and encrypted layers.
func (l Docker) Check(d *image.Document) error {
	if d.IsIndex() {
		return ErrIndex
	}
	if err := checkType(l, d); err != nil {
		return err
	}
	for _, layer := range d.Layers {
		if image.IsEncrypted(layer) {
			return fmt.Errorf("layer %s is encrypted; decrypt the image while copying it", layer.Digest)
		}
	}
	return nil
}

// ErrArtifact returns the error for a manifest whose config is not of an image, where
// there is room for images only.
func ErrArtifact(manifest *image.Document) error {
	return fmt.Errorf("its config, of type %q, has no rootfs, so this is not a container image but an artifact, which an archive of this kind cannot hold; write an image-archive instead", manifest.Config.MediaType)
}

// LeftOut is empty: an image without a place in manifest.json is not in the archive.
func (Docker) LeftOut(*image.Image) string { return "" }

// NewTable returns an empty table.
func (l Docker) NewTable() Table {
	return &dockerTable{layout: l, index: newTagIndex(l.Metadata), names: names{}, legacyIDs: map[string]struct{}{}}
}

// ReadTable implements Layout.
func (l Docker) ReadTable(old Archive) (Table, error) {
	if !old.Has(manifestFile) || old.Has(v1.ImageIndexFile) {
		return nil, ErrOther
	}
	t := &dockerTable{layout: l, index: newTagIndex(l.Metadata), names: names{}, legacyIDs: map[string]struct{}{}, old: old}
	if err := t.index.read(old); err != nil {
		return nil, err
	}
	for _, item := range t.index.items {
		// The digest of a config with another name is not known: its image keeps its names from
		// all others.
		id := item.value.Config
		if d, ok := configDigest(id); ok {
			id = d.String()
		}
		for _, name := range item.value.RepoTags {
			t.names[name] = id
		}
	}
	return t, nil
}

// dockerTable is the table of contents of the docker layout.
type dockerTable struct {
	layout    Docker
	index     tagIndex
	names     names
	legacyIDs map[string]struct{} // of the layers whose directories are new
	old       Archive             // nil for a new archive
	placed    placedIDs
}

// placedIDs are the IDs of the layers of the image that was placed last, which is usually
// the one that is added next: there may be tens of thousands.
type placedIDs struct {
	config digest.Digest
	ids    []string
}

// Head implements Table: nothing stands before the blobs.
func (t *dockerTable) Head() ([]tarfile.Small, error) { return nil, nil }

// Tail implements Table.
func (t *dockerTable) Tail() ([]tarfile.Small, error) { return t.index.files(true) }

// Notes implements Table: other programs write the same bytes.
func (t *dockerTable) Notes() ([]byte, bool) { return nil, false }

// Empty implements Table.
func (t *dockerTable) Empty() bool { return t.index.empty() }

// Taken implements Table.
func (t *dockerTable) Taken(img *image.Image) []string {
	return t.names.taken(img.Names, img.Top().Config.Digest.String())
}

// SameTags implements Table: names are in full everywhere.
func (t *dockerTable) SameTags(*image.Image) []string { return nil }

// Claim implements Table. An image is known by its config here, with any manifest.
func (t *dockerTable) Claim(img *image.Image) (release func(), err error) {
	fresh, err := t.names.claim(img.Names, img.Top().Config.Digest.String())
	return t.names.release(fresh), err
}

// dockerImage is an image as this layout sees it.
type dockerImage struct {
	config       []byte
	configDigest digest.Digest
	layers       []image.Layer
	legacy       LegacyLayers
}

func (t *dockerTable) imageOf(img *image.Image) (*dockerImage, error) {
	manifest := img.Top()
	layers, err := img.Layers(manifest)
	if err != nil {
		return nil, err
	}
	d := &dockerImage{configDigest: manifest.Config.Digest, layers: layers}
	d.config = img.Configs[d.configDigest]
	d.legacy, err = t.layout.Metadata.Legacy(d.config, diffIDs(layers))
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", d.configDigest, err)
	}
	return d, nil
}

func diffIDs(layers []image.Layer) []digest.Digest {
	ids := make([]digest.Digest, len(layers))
	for i, l := range layers {
		ids[i] = l.DiffID
	}
	return ids
}

// Place implements Table. The files are the config and the legacy directories
// that no other image has.
func (t *dockerTable) Place(img *image.Image) ([]Blob, tarfile.Smalls, error) {
	d, err := t.imageOf(img)
	if err != nil {
		return nil, nil, err
	}
	t.placed = placedIDs{config: d.configDigest, ids: d.legacy.IDs}
	blobs := make([]Blob, len(d.layers))
	for n, l := range d.layers {
		blobs[n] = Blob{Received: l.Digest, Stored: l.DiffID, Size: -1}
	}
	name := t.layout.ConfigName(d.configDigest)
	if t.index.has(name) {
		return blobs, nil, nil
	}
	config, err := t.layout.Metadata.small(name, d.config)
	if err != nil {
		return nil, nil, err
	}
	legacy := d.legacy // The rest of d is not kept.
	return blobs, func(yield func(tarfile.Small, error) bool) {
		if !yield(config, nil) {
			return
		}
		for n := range legacy.IDs {
			files, err := t.newFiles(legacy, n)
			if err != nil {
				yield(tarfile.Small{}, err)
				return
			}
			for _, f := range files {
				if !yield(f, nil) {
					return
				}
			}
		}
	}, nil
}

// newFiles returns the entries of the directory of the n-th layer, none if the archive has it.
func (t *dockerTable) newFiles(legacy LegacyLayers, n int) ([]tarfile.Small, error) {
	if _, ok := t.legacyIDs[legacy.IDs[n]]; ok {
		return nil, nil
	}
	files, err := legacy.Files(n)
	if err == nil && t.old != nil && len(files) > 0 && t.old.Has(files[0].Header.Name) {
		return nil, nil
	}
	return files, err
}

// hasLayer reports whether the archive has the directory of a legacy layer.
func (t *dockerTable) hasLayer(id string) bool {
	_, ok := t.legacyIDs[id]
	return ok || t.old != nil && t.old.Has(path.Join(id, layerFile))
}

// Add implements Table.
func (t *dockerTable) Add(img *image.Image) error {
	if _, err := t.Claim(img); err != nil {
		return err
	}
	config := img.Top().Config.Digest
	if t.placed.config != config {
		if _, _, err := t.Place(img); err != nil {
			return err
		}
	}
	layers, err := img.Layers(img.Top())
	if err != nil {
		return err
	}
	item := &dockerItem{
		tagItem: tagItem{Config: t.layout.ConfigName(config), RepoTags: []string{}, Layers: []string{}},
		config:  img.Configs[config], parent: img.Origins[config].Parent,
	}
	known := t.index.has(item.Config)
	for i, layer := range layers {
		item.Layers = append(item.Layers, t.layout.BlobName(layer.DiffID))
		item.top = t.placed.ids[i]
		if !known { // Else Place has made no directories.
			t.legacyIDs[item.top] = struct{}{}
		}
	}
	if known && !t.hasLayer(item.top) {
		item.top = ""
	}
	// The manifest's URLs are not used: containers/image does not tell of these either.
	item.LayerSources = img.Origins[config].SourcesOf(diffIDs(layers))
	t.index.add(item, img.Names)
	return nil
}

// Remove implements Table.
func (t *dockerTable) Remove(ctx context.Context, names []string, keep bool) error {
	t.index.remove(t.names.remove(names), keep)
	return ctx.Err()
}

// RemoveOrphans does nothing: archives of this kind have none.
func (*dockerTable) RemoveOrphans(context.Context, bool) ([]digest.Digest, error) { return nil, nil }

// topID returns the ID by which an image was known, "" if it has no layers.
func topID(layers LegacyLayers) string {
	if len(layers.IDs) == 0 {
		return ""
	}
	return layers.IDs[len(layers.IDs)-1]
}

// jsonFile returns an entry that holds a value as JSON.
func (m Metadata) jsonFile(name string, value any) (tarfile.Small, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return tarfile.Small{}, err
	}
	return m.small(name, data)
}
