package layout

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// builtImage returns an image with a history, and the digest of its config.
func builtImage(t *testing.T, label string, steps ...string) (*image.Image, digest.Digest) {
	t.Helper()
	diffID := digest.FromString("layer of " + label)
	history := []map[string]any{}
	for _, step := range steps {
		history = append(history, map[string]any{"created_by": step, "created": "2026-01-02T03:04:05Z"})
	}
	config, err := json.Marshal(map[string]any{
		"os": "linux", "architecture": "amd64", "label": label, "history": history,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []digest.Digest{diffID}},
	})
	require.NoError(t, err)
	id := digest.FromBytes(config)
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": v1.MediaTypeImageManifest,
		"config": v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: id, Size: int64(len(config))},
		"layers": []v1.Descriptor{{MediaType: v1.MediaTypeImageLayer, Digest: diffID, Size: 10}},
	})
	require.NoError(t, err)
	d, err := image.ParseDocument(raw, "")
	require.NoError(t, err)
	return &image.Image{
		Names: []string{"example.com/" + label + ":1"}, Documents: []*image.Document{d},
		Configs: map[digest.Digest][]byte{id: config}, Origins: map[digest.Digest]image.Origin{},
	}, id
}

// childOf says that an image was built on another one.
func childOf(img *image.Image, parent digest.Digest) *image.Image {
	img.Origins[img.Top().Config.Digest] = image.Origin{Parent: parent}
	return img
}

// parentsIn returns the parents in manifest.json, by the first name of an image.
func parentsIn(t *testing.T, table Table) map[string]string {
	t.Helper()
	var items []struct {
		RepoTags []string
		Parent   string
	}
	require.NoError(t, json.Unmarshal([]byte(tailOf(t, table)[manifestFile]), &items))
	found := map[string]string{}
	for _, i := range items {
		if i.Parent != "" {
			found[i.RepoTags[0]] = i.Parent
		}
	}
	return found
}

func TestParents(t *testing.T) {
	for name, l := range map[string]Layout{"docker": Docker{Metadata: plainMetadata()}, "oci": OCI{Metadata: plainMetadata()}} {
		t.Run(name, func(t *testing.T) {
			base, baseID := builtImage(t, "base", "a")
			child, childID := builtImage(t, "child", "a", "b")
			grandchild, _ := builtImage(t, "grandchild", "a", "b", "c")
			far, _ := builtImage(t, "far", "a", "b", "c")
			other, _ := builtImage(t, "other", "x", "b")
			orphan, _ := builtImage(t, "orphan", "a", "b")
			bare, bareID := builtImage(t, "bare")
			bareChild, bareChildID := builtImage(t, "barechild")
			self, selfID := builtImage(t, "self")
			table := l.NewTable()
			for _, img := range []*image.Image{
				childOf(grandchild, childID), // The parent comes later.
				base,
				childOf(child, baseID),
				childOf(far, baseID),
				childOf(other, baseID),
				childOf(orphan, digest.FromString("not there")),
				childOf(bare, bareChildID), childOf(bareChild, bareID),
				childOf(self, selfID),
			} {
				require.NoError(t, table.Add(img))
			}
			assert.Equal(t, map[string]string{
				"example.com/child:1":      baseID.String(),
				"example.com/grandchild:1": childID.String(),
			}, parentsIn(t, table), "only what docker load accepts")

			require.NoError(t, table.Remove(t.Context(), []string{"example.com/base:1"}, false))
			require.NoError(t, table.Remove(t.Context(), []string{"example.com/barechild:1"}, false))
			assert.Equal(t, map[string]string{"example.com/grandchild:1": childID.String()}, parentsIn(t, table))
		})
	}
}

// An image that is added to an archive may have been built on one that is there.
func TestParentInOldArchive(t *testing.T) {
	l := OCI{Metadata: plainMetadata()}
	base, baseID := builtImage(t, "base", "a")
	table := l.NewTable()
	require.NoError(t, table.Add(base))
	old := oldArchive(tailOf(t, table))
	old[l.BlobName(baseID)] = string(base.Configs[baseID])

	for steps, want := range map[string]map[string]string{
		"a": {"example.com/child:1": baseID.String()},
		"z": {},
	} {
		table, err := l.ReadTable(old)
		require.NoError(t, err)
		child, _ := builtImage(t, "child", steps, "b")
		require.NoError(t, table.Add(childOf(child, baseID)))
		assert.Equal(t, want, parentsIn(t, table))
	}
}

func TestInLoops(t *testing.T) {
	// 1 → 2 → 3 → 2, 4 → 4, 5 → 6, and a long way to 6.
	parentOf := map[int]int{1: 2, 2: 3, 3: 2, 4: 4, 5: 6}
	for i := 100; i < 1000; i++ {
		parentOf[i] = i + 1
	}
	parentOf[1000] = 6
	for range 20 { // The order of a map is not the same every time.
		assert.Equal(t, map[int]bool{2: true, 3: true, 4: true}, inLoops(parentOf))
	}
}

// A layer that has URLs keeps those that its archive had in both layouts. In the
// layout with the manifest, the manifest wins.
func TestLayerSourcesOfOrigin(t *testing.T) {
	for name, l := range map[string]Layout{"docker": Docker{Metadata: plainMetadata()}, "oci": OCI{Metadata: plainMetadata()}} {
		t.Run(name, func(t *testing.T) {
			img, id := builtImage(t, "windows")
			diffID := img.Top().Layers[0].Digest
			foreign := v1.Descriptor{MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Digest: digest.FromString("gz"), Size: 5, URLs: []string{"https://example.com/l"}}
			img.Origins[id] = image.Origin{LayerSources: map[digest.Digest]v1.Descriptor{diffID: foreign, digest.FromString("of another image"): foreign}}
			table := l.NewTable()
			require.NoError(t, table.Add(img))
			var items []tagItem
			require.NoError(t, json.Unmarshal([]byte(tailOf(t, table)[manifestFile]), &items))
			assert.Equal(t, map[digest.Digest]v1.Descriptor{diffID: foreign}, items[0].LayerSources)

			img.Top().Layers[0].URLs = []string{"https://example.com/newer"}
			table = l.NewTable()
			require.NoError(t, table.Add(img))
			assert.Equal(t, name == "oci", strings.Contains(tailOf(t, table)[manifestFile], "newer"))
		})
	}
}
