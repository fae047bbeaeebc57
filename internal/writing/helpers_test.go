package writing

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/leaktest"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// metadata is the least that a layout needs.
var metadata = layout.Metadata{
	File: func(name string, size int64) (*tar.Header, error) {
		return &tar.Header{Name: name, Size: size, Mode: 0o444, Typeflag: tar.TypeReg}, nil
	},
	Directory: func(name string) (*tar.Header, error) {
		return &tar.Header{Name: name + "/", Typeflag: tar.TypeDir}, nil
	},
	Legacy: func(_ []byte, diffIDs []digest.Digest) (layout.LegacyLayers, error) {
		return layout.LegacyLayers{IDs: make([]string, len(diffIDs)), Files: func(int) ([]tarfile.Small, error) { return nil, nil }}, nil
	},
}

// layouts are both kinds of archives.
var layouts = map[string]layout.Layout{"docker": layout.Docker{Metadata: metadata}, "oci": layout.OCI{Metadata: metadata}}

// testLayer is a layer as it is delivered, and uncompressed.
type testLayer struct {
	blob, diff []byte
	mediaType  string
}

func (l testLayer) digest() digest.Digest { return digest.FromBytes(l.blob) }

// plain returns an uncompressed layer of n bytes, at least those of a tar header, which
// depend on the seed.
func plain(seed byte, n int) testLayer {
	data := make([]byte, max(n, 513))
	for i := range data {
		data[i] = byte(i*i>>3) ^ seed
	}
	beginAsTar(data)
	return testLayer{data, data, v1.MediaTypeImageLayer}
}

// beginAsTar gives data, of at least a block, the beginning of a layer.
func beginAsTar(data []byte) {
	var header bytes.Buffer
	if err := tar.NewWriter(&header).WriteHeader(&tar.Header{Name: "file"}); err != nil {
		panic(err) // Nothing can fail in memory.
	}
	copy(data[:512], header.Bytes())
}

func zipped(seed byte, n int) testLayer {
	l := plain(seed, n)
	return testLayer{gzipped(l.diff), l.diff, v1.MediaTypeImageLayerGzip}
}

func gzipped(data []byte) []byte { return gzippedAt(gzip.DefaultCompression, data) }

func gzippedAt(level int, data []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // Nothing can fail in memory.
	}
	return b.Bytes()
}

// testImage is an image and its blobs.
type testImage struct {
	*image.Image
	layers []testLayer
	config []byte
}

func newImage(t testing.TB, name string, layers ...testLayer) *testImage {
	t.Helper()
	diffIDs, descriptors := []digest.Digest{}, []v1.Descriptor{}
	for _, l := range layers {
		diffIDs = append(diffIDs, digest.FromBytes(l.diff))
		descriptors = append(descriptors, v1.Descriptor{MediaType: l.mediaType, Digest: l.digest(), Size: int64(len(l.blob))})
	}
	config, err := json.Marshal(map[string]any{"os": "linux", "architecture": "amd64", "author": name, "rootfs": map[string]any{"diff_ids": diffIDs}})
	require.NoError(t, err)
	m := v1.Manifest{
		MediaType: v1.MediaTypeImageManifest,
		Config:    v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers:    descriptors,
	}
	m.SchemaVersion = 2
	raw, err := json.Marshal(m)
	require.NoError(t, err)
	d, err := image.ParseDocument(raw, "")
	require.NoError(t, err)
	return &testImage{
		&image.Image{Names: []string{"example.com/" + name + ":1"}, Documents: []*image.Document{d}, Configs: map[digest.Digest][]byte{m.Config.Digest: config}},
		layers, config,
	}
}

// plan returns a plan for New of images.
func plan(images ...*testImage) (blobs [][]image.Blob) {
	for _, m := range images {
		var all []image.Blob
		for b := range m.Blobs() {
			all = append(all, b)
		}
		blobs = append(blobs, all)
	}
	return blobs
}

// testArchive is an archive and where it is going to be.
type testArchive struct {
	*Archive
	dir, path string
}

// newTestArchive begins an archive in a file.
func newTestArchive(t testing.TB, l layout.Layout, plan [][]image.Blob) testArchive {
	t.Helper()
	dir := t.TempDir()
	return newArchiveOver(t, dir, dir, l, plan, func(f tarfile.File) tarfile.File { return f })
}

// newArchiveOver begins an archive in a file of dir, which wrap may replace. Blobs
// that have to wait for their place do so in spoolDir.
func newArchiveOver(t testing.TB, dir, spoolDir string, l layout.Layout, plan [][]image.Blob, wrap func(tarfile.File) tarfile.File) testArchive {
	t.Helper()
	path := filepath.Join(dir, "archive.tar")
	out, err := output.Create(t.Context(), path)
	require.NoError(t, err)
	a, err := newArchive(t.Context(), out, tarfile.NewFileWriter(wrap(out.File()), 0, spoolDir), path, Options{Layout: l, Plan: plan})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Abort()) })
	return testArchive{a, dir, path}
}

// newTestStream begins an archive that is written to w as to a pipe.
func newTestStream(t testing.TB, l layout.Layout, plan [][]image.Blob, w io.Writer) *Archive {
	t.Helper()
	out, err := output.Create(t.Context(), os.DevNull)
	require.NoError(t, err)
	require.True(t, out.Stream())
	a, err := newArchive(t.Context(), out, tarfile.NewStreamWriter(w, t.TempDir()), "a stream", Options{Layout: l, Plan: plan})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Abort()) })
	return a
}

// put puts a layer of known digest and size.
func put(a *Archive, l testLayer) error {
	_, _, err := a.Put(context.Background(), "test", bytes.NewReader(l.blob), l.digest(), int64(len(l.blob)))
	return err
}

// putAll puts all that an image consists of, its layers last to first if reversed.
func putAll(a *Archive, m *testImage, reversed bool) error {
	ctx := context.Background()
	for i := range m.layers {
		if reversed {
			i = len(m.layers) - 1 - i
		}
		if err := put(a, m.layers[i]); err != nil {
			return err
		}
	}
	if a.Layout().Unpacks() {
		return nil
	}
	if err := a.PutBytes(ctx, "test", m.config, m.Top().Config.Digest); err != nil {
		return err
	}
	return a.PutBytes(ctx, "test", m.Top().Raw, m.Digest())
}

// commit makes an image part of the archive. All of it must have been put.
func commit(a *Archive, place *Image, m *testImage) error {
	place, err := a.Open(place)
	if err != nil {
		return err
	}
	if err := a.Check(m.Image); err != nil {
		return err
	}
	return a.Commit(context.Background(), place, m.Image)
}

// write writes images one after the other.
func write(a *Archive, images ...*testImage) error {
	for _, m := range images {
		place := a.NewImage()
		if err := putAll(a, m, false); err != nil {
			return err
		}
		if err := commit(a, place, m); err != nil {
			return err
		}
	}
	return a.Close(context.Background())
}

// written returns the archive of images that are written one after the other,
// without a plan: all others have to equal it.
func written(t testing.TB, l layout.Layout, images ...*testImage) []byte {
	t.Helper()
	a := newTestArchive(t, l, nil)
	require.NoError(t, write(a.Archive, images...))
	return read(t, a.path)
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// leftovers returns the names in the directory of an archive.
func (a testArchive) leftovers(t testing.TB) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(a.dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
