package dockerarchive

import (
	"encoding/json"
	"fmt"
	"runtime"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
)

// Law 6: an image with tens of thousands of layers takes a few hundred bytes of memory for
// each layer when it is added, and not the three files that each has.
func TestLaw6LegacyLayers(t *testing.T) {
	const count, most = 20_000, 300 // bytes for a layer
	var config imgspecv1.Image
	manifest := imgspecv1.Manifest{MediaType: imgspecv1.MediaTypeImageManifest, Config: imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageConfig}}
	for n := range count {
		d := digest.FromString(fmt.Sprint(n))
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d)
		manifest.Layers = append(manifest.Layers, imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageLayer, Digest: d})
	}
	rawConfig, err := json.Marshal(config)
	require.NoError(t, err)
	manifest.Config.Digest = digest.FromBytes(rawConfig)
	raw, err := json.Marshal(manifest)
	require.NoError(t, err)
	document, err := image.ParseDocument(raw, "")
	require.NoError(t, err)
	img := &image.Image{Documents: []*image.Document{document}, Configs: map[digest.Digest][]byte{manifest.Config.Digest: rawConfig}}
	table := layout.Docker{Metadata: metadata}.NewTable()

	before := held()
	_, files, err := table.Place(img)
	require.NoError(t, err)
	written := 0
	for _, err := range files.All() {
		require.NoError(t, err)
		if written++; written == 3*count { // The last but one: all have been made.
			assert.Less(t, (held()-before)/count, most)
		}
	}
	assert.Equal(t, 3*count+1, written)
	runtime.KeepAlive([]any{config, manifest, raw, img}) // They must count in both measurements.
}

// held returns how many bytes are in use.
func held() int {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}
