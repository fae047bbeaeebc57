package copying_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/progress"
)

// manyLayers writes an archive as docker save wrote them, of one image of many layers.
func manyLayers(t *testing.T, count int) string {
	write, written := newTar(t)
	var ids []digest.Digest
	var names []string
	for n := range count {
		layer := imagetest.Plain(uint64(n), 1)
		names, ids = append(names, fmt.Sprintf("%d.tar", n)), append(ids, layer.DiffID())
		write(names[n], layer.Diff)
	}
	config, err := json.Marshal(map[string]any{
		"os": "linux", "architecture": "amd64", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	})
	require.NoError(t, err)
	name := digest.FromBytes(config).Encoded() + ".json"
	manifest, err := json.Marshal([]any{map[string]any{"Config": name, "RepoTags": []string{"example.com/many:1"}, "Layers": names}})
	require.NoError(t, err)
	write(name, config)
	write("manifest.json", manifest)
	return written()
}

// newTar returns a function that writes an entry of an archive, and one that closes it and
// returns its path.
func newTar(t *testing.T) (write func(name string, data []byte), written func() string) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	write = func(name string, data []byte) {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}))
		_, err := w.Write(data)
		require.NoError(t, err)
	}
	return write, func() string {
		require.NoError(t, w.Close())
		file := filepath.Join(t.TempDir(), "archive.tar")
		require.NoError(t, os.WriteFile(file, b.Bytes(), 0o600))
		return file
	}
}

// live returns how many bytes are in use.
func live() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// An image of many layers takes a bounded number of bytes for each while it is saved: names,
// digests and places, and not buffers. A layer is up to five entries of an archive for docker. Some 300
// of the bytes are buffers that an image of few layers takes as well.
func TestLaw6ManyLayers(t *testing.T) {
	const count = 5000
	for transport, most := range map[types.ImageTransport]int{dockerarchive.Transport: 2600, dockerarchive.ImageTransport: 2600} {
		t.Run(transport.Name(), func(t *testing.T) {
			file := manyLayers(t, count)
			ref, err := dockerarchive.Transport.ParseReference(file)
			require.NoError(t, err)
			before, finished, held := live(), atomic.Int64{}, uint64(0)
			reading := copying.Reading{SourceCtx: imagetest.Isolated(), Progress: func(e progress.Event) {
				if e.Kind == progress.Finished && finished.Add(1) == count {
					held = live()
				}
			}}
			_, err = copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "saved.tar"),
				[]copying.SaveImage{{Source: ref}}, &copying.SaveOptions{Reading: reading, Transport: transport, NoSync: true})
			require.NoError(t, err)
			each := (int(held) - int(before)) / count
			t.Logf("%d bytes for a layer", each)
			assert.Positive(t, each)
			assert.Less(t, each, most)
		})
	}
}
