package showcase

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// Packed is a layer as it is stored, in gzip, and the diff ID of its tar.
type Packed struct {
	Blob   []byte
	DiffID digest.Digest
}

// Pack compresses a layer's tar.
func Pack(t testing.TB, diff []byte) Packed {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	require.NoError(t, err)
	_, err = z.Write(diff)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return Packed{b.Bytes(), digest.FromBytes(diff)}
}

// Made is an image for one platform, or an artifact.
type Made struct {
	Manifest imgspecv1.Manifest
	blobs    [][]byte // config and layers
}

// newMade returns an image of a config, and of layers of a media type.
func newMade(t testing.TB, config any, configType, layerType string, layers ...[]byte) *Made {
	t.Helper()
	data, err := json.Marshal(config)
	require.NoError(t, err)
	m := &Made{blobs: append([][]byte{data}, layers...)}
	describe := func(mediaType string, data []byte) imgspecv1.Descriptor {
		return imgspecv1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	}
	m.Manifest = imgspecv1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest, Config: describe(configType, data)}
	for _, l := range layers {
		m.Manifest.Layers = append(m.Manifest.Layers, describe(layerType, l))
	}
	return m
}

// raw returns the manifest as it is stored.
func (m *Made) raw(t testing.TB) []byte {
	t.Helper()
	data, err := json.Marshal(m.Manifest)
	require.NoError(t, err)
	return data
}

// descriptor describes the manifest.
func (m *Made) descriptor(t testing.TB) imgspecv1.Descriptor {
	t.Helper()
	raw := m.raw(t)
	return imgspecv1.Descriptor{MediaType: m.Manifest.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
}

// artifact returns an artifact of one file, with a subject.
func artifact(t testing.TB, artifactType, content string, subject *imgspecv1.Descriptor) *Made {
	t.Helper()
	m := newMade(t, struct{}{}, imgspecv1.MediaTypeEmptyJSON, artifactType, []byte(content))
	m.Manifest.ArtifactType, m.Manifest.Subject = artifactType, subject
	return m
}
