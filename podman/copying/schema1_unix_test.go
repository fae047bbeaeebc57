//go:build unix

package copying_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/types"

	ctrimage "go.podman.io/image/v5/image"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// filler is the empty layer that images of schema 1 have for steps without one.
var filler = imagetest.Layer{Blob: ctrimage.GzippedEmptyLayer, Digest: ctrimage.GzippedEmptyLayerDigest}

// schema1 returns an image of Docker's schema 1 in a directory. Layers, lowest first,
// that are thrown away have no content of their own.
func schema1(t testing.TB, layers []imagetest.Layer, thrownAway ...int) types.ImageReference {
	t.Helper()
	dir := t.TempDir()
	var history, fsLayers []any
	parent := ""
	for i, l := range layers {
		v1 := map[string]any{
			"id": digest.FromString(fmt.Sprint("layer ", i)).Encoded(), "created": "2015-11-25T00:00:00Z",
			"os": "linux", "architecture": "amd64", "container_config": map[string]any{"Cmd": []string{"step", fmt.Sprint(i)}},
		}
		if parent != "" {
			v1["parent"] = parent
		}
		if slices.Contains(thrownAway, i) {
			v1["throwaway"] = true
		}
		parent = v1["id"].(string)
		raw, err := json.Marshal(v1)
		require.NoError(t, err)
		history = append(history, map[string]string{"v1Compatibility": string(raw)})
		fsLayers = append(fsLayers, map[string]digest.Digest{"blobSum": l.Digest})
		require.NoError(t, os.WriteFile(filepath.Join(dir, l.Digest.Encoded()), l.Blob, 0o600))
	}
	slices.Reverse(history)
	slices.Reverse(fsLayers)
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 1, "name": "library/old", "tag": "1", "architecture": "amd64", "history": history, "fsLayers": fsLayers,
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json"), raw, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "version"), []byte("Directory Transport Version: 1.1\n"), 0o600))
	ref, err := directory.NewReference(dir)
	require.NoError(t, err)
	return ref
}

// fifo makes a pipe at path and returns the bytes that are written to it.
func fifo(t testing.TB, path string) <-chan []byte {
	t.Helper()
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	received := make(chan []byte, 1)
	go func() {
		data, err := os.ReadFile(path)
		assert.NoError(t, err)
		received <- data
	}()
	return received
}

// written returns the archives that copies of an image write to a file and to a pipe:
// by Copy, and by a program that knows nothing of this module.
func written(t testing.TB, transport types.ImageTransport, src types.ImageReference) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, kind := range []string{"file", "pipe"} {
		for by, run := range map[string]func(ref types.ImageReference) error{
			"Copy": func(ref types.ImageReference) error {
				_, err := copying.Copy(t.Context(), imagetest.Trusting(t), ref, src, &copying.CopyOptions{Options: copy.Options{SourceCtx: imagetest.Isolated(), DestinationCtx: imagetest.Isolated()}})
				return err
			},
			"copy.Image": func(ref types.ImageReference) error { return imagetest.Copy(t, ref, src, nil) },
		} {
			path := filepath.Join(t.TempDir(), "out.tar")
			var received <-chan []byte
			if kind == "pipe" {
				received = fifo(t, path)
			}
			ref, err := transport.ParseReference(path)
			require.NoError(t, err)
			require.NoError(t, run(ref), "%s to a %s", by, kind)
			if kind == "pipe" {
				all[by+" "+kind] = <-received
				continue
			}
			all[by+" "+kind] = imagetest.ReadFile(t, path)
		}
	}
	return all
}

// An image of schema 1 becomes the same archive in a file and on a pipe. The empty
// layers that stand for steps without one are in it only if an image has such a layer.
func TestSchema1(t *testing.T) {
	a, b := imagetest.Gzip(1, 3000), imagetest.Gzip(2, 150_000)
	for name, c := range map[string]struct {
		src  types.ImageReference
		want []imagetest.Layer
		has  bool
	}{
		"thrown away": {schema1(t, []imagetest.Layer{a, filler, b, filler}, 1, 3), []imagetest.Layer{a, b}, false},
		"a layer":     {schema1(t, []imagetest.Layer{a, b, filler, filler}, 3), []imagetest.Layer{a, b, filler}, true},
	} {
		for _, transport := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
			all := written(t, transport, c.src)
			for by, data := range all {
				if c.has && by == "copy.Image pipe" {
					continue // Without a plan the empty layer comes last: it was not known to be needed.
				}
				assert.True(t, bytes.Equal(all["Copy file"], data), "%s: %s: %s", name, transport.Name(), by)
			}
			path := imagetest.WriteFile(t, all["Copy file"])
			r, err := dockerarchive.NewReader(nil, path)
			require.NoError(t, err)
			report, err := r.Verify(t.Context(), nil)
			require.NoError(t, errors.Join(err, r.Close()))
			assert.Empty(t, report.Problems)
			files, names := imagetest.Files(t, all["Copy file"])
			items := imagetest.Items(t, all["Copy file"])
			require.Len(t, items, 1)
			assert.Len(t, items[0].Layers, len(c.want), name)
			for _, layer := range items[0].Layers {
				assert.Contains(t, files, layer)
			}
			assert.Equal(t, c.has, slices.Contains(names, "blobs/sha256/"+filler.Digest.Encoded()) ||
				slices.Contains(names, digest.FromBytes(make([]byte, 1024)).Encoded()+".tar"), "%s: %s", name, transport.Name())
		}
	}
}
