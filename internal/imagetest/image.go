package imagetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// Image is an image in memory. As a types.ImageReference it can be copied, and its
// reading watched and disturbed.
type Image struct {
	types.ImageReference // for what a reference needs and no test asks for

	Config   []byte
	Manifest v1.Manifest
	Raw      []byte // the manifest
	MIMEType string
	Layers   []Layer

	// Disturb, if not nil, replaces the reader of a blob.
	Disturb func(ctx context.Context, d digest.Digest, r io.Reader) io.Reader
	// HideSizes makes sizes unknown.
	HideSizes bool

	mu   sync.Mutex
	Gets map[digest.Digest]int   // how often a blob was asked for
	Read map[digest.Digest]int64 // bytes of it that were read
}

// NewImage returns an OCI image of the layers; the label makes its config unique.
func NewImage(t testing.TB, label string, layers ...Layer) *Image {
	t.Helper()
	var config v1.Image
	config.Architecture, config.OS = "amd64", "linux"
	config.Config.Labels = map[string]string{"test": label}
	config.RootFS.Type = "layers"
	config.RootFS.DiffIDs = []digest.Digest{}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID())
	}
	return NewImageOfConfig(t, config, layers...)
}

// NewImageOfConfig returns an OCI image of layers and a config, which may be
// anything that can be written as JSON.
func NewImageOfConfig(t testing.TB, config any, layers ...Layer) *Image {
	t.Helper()
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	m := &Image{ImageReference: Saved(t, "one"), Layers: layers, MIMEType: v1.MediaTypeImageManifest}
	m.Forget()
	m.Manifest = v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: m.MIMEType,
		Config:    v1.Descriptor{MediaType: v1.MediaTypeImageConfig},
		Layers:    []v1.Descriptor{},
	}
	m.SetConfig(raw)
	for _, l := range layers {
		m.Manifest.Layers = append(m.Manifest.Layers, v1.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: int64(len(l.Blob)), URLs: l.URLs})
	}
	m.Encode(t)
	return m
}

// Encode has to be called when a test has changed the manifest.
func (m *Image) Encode(t testing.TB) {
	t.Helper()
	var err error
	m.Raw, err = json.Marshal(m.Manifest)
	require.NoError(t, err)
}

// SetConfig replaces the config, also in the manifest; Encode has to follow.
func (m *Image) SetConfig(config []byte) {
	m.Config = config
	m.Manifest.Config.Digest, m.Manifest.Config.Size = digest.FromBytes(config), int64(len(config))
}

// Forget empties Gets and Read.
func (m *Image) Forget() { m.Gets, m.Read = map[digest.Digest]int{}, map[digest.Digest]int64{} }

// Digest returns that of the manifest.
func (m *Image) Digest() digest.Digest { return digest.FromBytes(m.Raw) }

// ConfigDigest returns that of the config, as the manifest has it.
func (m *Image) ConfigDigest() digest.Digest { return m.Manifest.Config.Digest }

// InGzip returns the same image with all layers compressed with gzip, as
// containers/image's own transport can read it.
func (m *Image) InGzip(t testing.TB) *Image {
	t.Helper()
	var layers []Layer
	for _, l := range m.Layers {
		layers = append(layers, l.InGzip())
	}
	return NewImageOfConfig(t, json.RawMessage(m.Config), layers...)
}

// NewImageSource returns a source of the image.
func (m *Image) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return Source{m}, nil
}

// Source is the types.ImageSource of an Image.
type Source struct{ *Image }

// Reference returns the image itself.
func (s Source) Reference() types.ImageReference { return s.Image }

// Close does nothing.
func (s Source) Close() error { return nil }

// HasThreadSafeGetBlob is true.
func (s Source) HasThreadSafeGetBlob() bool { return true }

// GetManifest returns Raw.
func (s Source) GetManifest(context.Context, *digest.Digest) ([]byte, string, error) {
	return s.Raw, s.MIMEType, nil
}

// GetSignatures returns none.
func (s Source) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) { return nil, nil }

// LayerInfosForCopy returns nil.
func (s Source) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}

// GetBlob returns a blob, counted and disturbed.
func (s Source) GetBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	data, ok := s.blob(info.Digest)
	if !ok {
		return nil, 0, fmt.Errorf("there is no blob %s: %w", info.Digest, fs.ErrNotExist)
	}
	s.mu.Lock()
	s.Gets[info.Digest]++
	s.mu.Unlock()
	var r io.Reader = &countedReader{m: s.Image, d: info.Digest, r: bytes.NewReader(data)}
	if s.Disturb != nil {
		r = s.Disturb(ctx, info.Digest, r)
	}
	size := int64(len(data))
	if s.HideSizes {
		size = -1
	}
	return io.NopCloser(r), size, nil
}

func (m *Image) blob(d digest.Digest) ([]byte, bool) {
	if d == m.ConfigDigest() {
		return m.Config, true
	}
	i := slices.IndexFunc(m.Layers, func(l Layer) bool { return l.Digest == d })
	if i < 0 {
		return nil, false
	}
	return m.Layers[i].Blob, true
}

type countedReader struct {
	m *Image
	d digest.Digest
	r io.Reader
}

// Read implements io.Reader.
func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	r.m.Read[r.d] += int64(n)
	return n, err
}
