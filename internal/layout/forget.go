package layout

import (
	"encoding/json"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// forget takes images out of manifest.json that index.json does not list any more, and
// that are called nothing there: what has names loses them one by one.
func (t *ociTable) forget(gone []digest.Digest) {
	if t.old == nil {
		return
	}
	var unnamed []*kept[tagItem]
	for _, d := range gone {
		for _, config := range t.configsOf(d, maxDepth) {
			item := t.index.byConfig[t.layout.BlobName(config)]
			if item != nil && len(item.value.RepoTags) == 0 {
				unnamed = append(unnamed, item)
			}
		}
	}
	if len(unnamed) == 0 {
		return
	}
	for _, d := range t.contents.value.Manifests { // Which may have the same config.
		for _, config := range t.configsOf(d.value.Digest, maxDepth) {
			file := t.layout.BlobName(config)
			unnamed = slices.DeleteFunc(unnamed, func(item *kept[tagItem]) bool { return item.value.Config == file })
		}
	}
	for _, item := range unnamed {
		t.index.removeItem(item)
	}
}

// maxDepth is how deep indexes within indexes are followed.
const maxDepth = 4

// configsOf returns the digests of the configs of a manifest in the archive, or of those
// that an index lists. What cannot be read has none.
func (t *ociTable) configsOf(d digest.Digest, depth int) []digest.Digest {
	if depth == 0 || d.Validate() != nil {
		return nil
	}
	raw, err := t.old.ReadTable(t.layout.BlobName(d))
	if err != nil {
		return nil
	}
	var fields image.Fields
	if json.Unmarshal(raw, &fields) != nil {
		return nil
	}
	if fields.Config != nil {
		return []digest.Digest{fields.Config.Digest}
	}
	var configs []digest.Digest
	for _, m := range fields.Manifests {
		configs = append(configs, t.configsOf(m.Digest, depth-1)...)
	}
	return configs
}
