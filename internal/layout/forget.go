package layout

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// forget takes images out of manifest.json that index.json does not list any more, and
// that have no name there: others lose their names by Remove.
func (t *ociTable) forget(ctx context.Context, gone []digest.Digest) error {
	if t.old == nil || len(gone) == 0 {
		return nil
	}
	configs, err := t.configsOf(ctx, gone)
	if err != nil {
		return err
	}
	unnamed := map[*kept[tagItem]]bool{}
	for config := range configs {
		item := t.index.byConfig[t.layout.BlobName(config)]
		if item != nil && len(item.value.RepoTags) == 0 {
			unnamed[item] = true
		}
	}
	if len(unnamed) == 0 {
		return nil
	}
	var listed []digest.Digest // These may have the same config.
	for _, d := range t.contents.value.Manifests {
		listed = append(listed, d.value.Digest)
	}
	if configs, err = t.configsOf(ctx, listed); err != nil {
		return err
	}
	for config := range configs {
		delete(unnamed, t.index.byConfig[t.layout.BlobName(config)])
	}
	t.index.removeItems(unnamed)
	return nil
}

// configsOf returns the digests of the configs of manifests in the archive, and of those
// that indexes lead to. Each document is read once, however often it is listed. One that
// cannot be read has none.
func (t *ociTable) configsOf(ctx context.Context, documents []digest.Digest) (map[digest.Digest]bool, error) {
	configs, seen := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	for queue := documents; len(queue) > 0; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if seen[d] {
			continue
		}
		seen[d] = true
		raw, err := t.old.ReadTable(t.layout.BlobName(d))
		if err != nil {
			continue
		}
		var fields image.Fields
		if image.Decode("manifest", raw, &fields) != nil {
			continue
		}
		if fields.Config != nil {
			configs[fields.Config.Digest] = true
		}
		for _, m := range fields.Manifests {
			if !seen[m.Digest] {
				queue = append(queue, m.Digest)
			}
		}
	}
	return configs, nil
}
