package containerd_test

import (
	"bytes"
	"encoding/json"
	"io"
	"runtime"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"
)

// put stores a blob and returns what a manifest says of it.
func (s *server) put(t *testing.T, kind string, blob any) imgspecv1.Descriptor {
	t.Helper()
	data, ok := blob.([]byte)
	if !ok {
		var err error
		data, err = json.Marshal(blob)
		require.NoError(t, err)
	}
	d := digest.FromBytes(data)
	s.blobs[d.String()] = data
	return imgspecv1.Descriptor{MediaType: kind, Digest: d, Size: int64(len(data))}
}

func TestLayers(t *testing.T) {
	s, store := start(t)
	one, two := bytes.Repeat([]byte("one"), 5000), []byte("two")
	config := s.put(t, imgspecv1.MediaTypeImageConfig, imgspecv1.Image{RootFS: imgspecv1.RootFS{DiffIDs: []digest.Digest{digest.FromString("a"), digest.FromString("b")}}})
	m := imgspecv1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest, Config: config,
		Layers: []imgspecv1.Descriptor{s.put(t, imgspecv1.MediaTypeImageLayerGzip, one), s.put(t, imgspecv1.MediaTypeImageLayerGzip, two)},
	}
	image := s.put(t, m.MediaType, m)
	image.Platform = &imgspecv1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	index := s.put(t, imgspecv1.MediaTypeImageIndex, imgspecv1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex, Manifests: []imgspecv1.Descriptor{image},
	})
	s.images["docker.io/library/app:1"] = index.Digest.String()
	s.images["docker.io/library/app:latest"] = image.Digest.String()
	s.images["odd"] = s.put(t, "", []byte("{}")).Digest.String()
	sys := &types.SystemContext{OSChoice: "linux"}

	for _, name := range []string{"docker.io/library/app:1", "app:1", "app"} {
		layers, err := store.Layers(t.Context(), sys, name)
		require.NoError(t, err)
		require.Len(t, layers, 2)
		assert.Equal(t, m.Layers[0].Digest, layers[0].Digest)
		assert.Equal(t, digest.FromString("b"), layers[1].DiffID)
		assert.True(t, s.kept["content "+m.Layers[0].Digest.String()], "as long as the store is open")
		r, size, done, err := layers[0].Open(t.Context())
		require.NoError(t, err)
		require.Equal(t, int64(len(one)), size)
		got, err := io.ReadAll(io.NewSectionReader(r, 0, size))
		require.NoError(t, err)
		assert.Equal(t, one, got)
		n, err := r.ReadAt(make([]byte, 10), size-3)
		assert.Equal(t, 3, n)
		require.ErrorIs(t, err, io.EOF)
		n, err = r.ReadAt(make([]byte, 10), 7001)
		assert.Equal(t, 10, n)
		require.NoError(t, err)
		done()
	}

	layers, err := store.Layers(t.Context(), sys, "app")
	require.NoError(t, err)
	r, size, _, err := layers[0].Open(t.Context())
	require.NoError(t, err)
	s.fault = "Read"
	_, err = r.ReadAt(make([]byte, size), 0)
	require.ErrorContains(t, err, "not found")
	s.fault = ""

	for name, want := range map[string]string{"missing": "not found", "odd": "", "not a name": "not found"} {
		_, err := store.Layers(t.Context(), sys, name)
		require.ErrorContains(t, err, want, name)
	}
	delete(s.blobs, m.Layers[0].Digest.String())
	layers, err = store.Layers(t.Context(), sys, "app")
	require.NoError(t, err)
	require.Len(t, layers, 1, "those that are there")
	s.blobs[config.Digest.String()] = []byte("{}")
	_, err = store.Layers(t.Context(), sys, "app")
	require.ErrorContains(t, err, "damaged")
	require.NoError(t, store.Close())
}
