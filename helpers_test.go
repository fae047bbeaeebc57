package dockerarchive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/types"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"
)

// layer is a layer of an image that a test makes.
type layer struct {
	diff      []byte // uncompressed
	blob      []byte // as the source has it
	digest    digest.Digest
	mediaType string
	urls      []string
}

func newLayer(diff, blob []byte, mediaType string) layer {
	return layer{diff: diff, blob: blob, digest: digest.FromBytes(blob), mediaType: mediaType}
}

// tarOf returns a layer's tar with one file of n bytes, which compress to about
// half and depend on the seed.
func tarOf(seed uint64, n int) []byte {
	data := make([]byte, n)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range data {
		data[i] = byte(rng.Uint32()) & 0x1f
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(w.WriteHeader(&tar.Header{Name: fmt.Sprintf("file-%d", seed), Mode: 0o644, Size: int64(n)}))
	_, err := w.Write(data)
	must(err)
	must(w.Close())
	return b.Bytes()
}

// must is for what cannot fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	must(err)
	must(w.Close())
	return b.Bytes()
}

func zstdCompressed(data []byte) []byte {
	w, err := zstd.NewWriter(nil)
	must(err)
	defer w.Close()
	return w.EncodeAll(data, nil)
}

func xzCompressed(data []byte) []byte {
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	must(err)
	_, err = w.Write(data)
	must(err)
	must(w.Close())
	return b.Bytes()
}

func plainLayer(seed uint64, n int) layer {
	diff := tarOf(seed, n)
	return newLayer(diff, diff, imgspecv1.MediaTypeImageLayer)
}

func gzipLayer(seed uint64, n int) layer {
	diff := tarOf(seed, n)
	return newLayer(diff, gzipped(diff), imgspecv1.MediaTypeImageLayerGzip)
}

func zstdLayer(seed uint64, n int) layer {
	diff := tarOf(seed, n)
	return newLayer(diff, zstdCompressed(diff), imgspecv1.MediaTypeImageLayerZstd)
}

// memoryImage is an image in memory. As a types.ImageReference it can be copied,
// and its reading watched and disturbed.
type memoryImage struct {
	types.ImageReference // for what a reference needs and no test asks for

	config   []byte
	manifest imgspecv1.Manifest
	raw      []byte // the manifest
	mimeType string
	layers   []layer

	// disturb, if not nil, replaces the reader of a blob.
	disturb func(ctx context.Context, d digest.Digest, r io.Reader) io.Reader
	// hideSizes makes sizes unknown.
	hideSizes bool

	mu   sync.Mutex
	gets map[digest.Digest]int   // how often a blob was asked for
	read map[digest.Digest]int64 // bytes of it that were read
}

// newImage returns an OCI image of the layers; the label makes its config unique.
func newImage(t testing.TB, label string, layers ...layer) *memoryImage {
	t.Helper()
	var config imgspecv1.Image
	config.Architecture, config.OS = "amd64", "linux"
	config.Config.Labels = map[string]string{"test": label}
	config.RootFS.Type = "layers"
	config.RootFS.DiffIDs = []digest.Digest{}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(l.diff))
	}
	return newImageOfConfig(t, config, layers...)
}

func newImageOfConfig(t testing.TB, config any, layers ...layer) *memoryImage {
	t.Helper()
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	m := &memoryImage{
		ImageReference: testImage(t, "one"), config: raw, layers: layers, mimeType: imgspecv1.MediaTypeImageManifest,
		gets: map[digest.Digest]int{}, read: map[digest.Digest]int64{},
	}
	m.manifest = imgspecv1.Manifest{
		Versioned: imgspec.Versioned{SchemaVersion: 2},
		MediaType: m.mimeType,
		Config:    imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageConfig, Digest: digest.FromBytes(raw), Size: int64(len(raw))},
		Layers:    []imgspecv1.Descriptor{},
	}
	for _, l := range layers {
		m.manifest.Layers = append(m.manifest.Layers, imgspecv1.Descriptor{MediaType: l.mediaType, Digest: l.digest, Size: int64(len(l.blob)), URLs: l.urls})
	}
	m.encode(t)
	return m
}

// encode has to be called when a test has changed the manifest.
func (m *memoryImage) encode(t testing.TB) {
	t.Helper()
	var err error
	m.raw, err = json.Marshal(m.manifest)
	require.NoError(t, err)
}

func (m *memoryImage) configDigest() digest.Digest { return m.manifest.Config.Digest }

func (m *memoryImage) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return memorySource{m}, nil
}

type memorySource struct{ *memoryImage }

func (s memorySource) Reference() types.ImageReference { return s.memoryImage }
func (s memorySource) Close() error                    { return nil }
func (s memorySource) HasThreadSafeGetBlob() bool      { return true }

func (s memorySource) GetManifest(context.Context, *digest.Digest) ([]byte, string, error) {
	return s.raw, s.mimeType, nil
}

func (s memorySource) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) {
	return nil, nil
}

func (s memorySource) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}

func (s memorySource) GetBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	data, ok := s.blob(info.Digest)
	if !ok {
		return nil, 0, fmt.Errorf("there is no blob %s", info.Digest)
	}
	s.mu.Lock()
	s.gets[info.Digest]++
	s.mu.Unlock()
	var r io.Reader = &countedReader{m: s.memoryImage, d: info.Digest, r: bytes.NewReader(data)}
	if s.disturb != nil {
		r = s.disturb(ctx, info.Digest, r)
	}
	size := int64(len(data))
	if s.hideSizes {
		size = -1
	}
	return io.NopCloser(r), size, nil
}

func (m *memoryImage) blob(d digest.Digest) ([]byte, bool) {
	if d == m.configDigest() {
		return m.config, true
	}
	i := slices.IndexFunc(m.layers, func(l layer) bool { return l.digest == d })
	if i < 0 {
		return nil, false
	}
	return m.layers[i].blob, true
}

type countedReader struct {
	m *memoryImage
	d digest.Digest
	r io.Reader
}

func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	r.m.read[r.d] += int64(n)
	return n, err
}

// files returns the entries of an archive that are not symbolic links, and their
// names in order.
func files(t testing.TB, archive []byte) (map[string][]byte, []string) {
	t.Helper()
	contents, names := map[string][]byte{}, []string{}
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return contents, names
		}
		require.NoError(t, err)
		names = append(names, h.Name)
		if h.Typeflag != tar.TypeReg {
			continue
		}
		require.NotContains(t, contents, h.Name, "an entry occurs twice")
		contents[h.Name], err = io.ReadAll(r)
		require.NoError(t, err)
	}
}

// layerNames returns the layers' names in an archive.
func layerNames(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return !strings.HasSuffix(n, ".tar") || strings.Contains(n, "/")
	})
}

func nameOf(diff []byte) string { return dockerLayout{}.blobName(digest.FromBytes(diff)) }

func sum(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// isolated returns a SystemContext under which nothing outside of the test is
// read or written: containers/image keeps its cache of blobs in memory if the
// directory for it cannot be made.
func isolated() *types.SystemContext {
	return &types.SystemContext{BlobInfoCacheDir: filepath.Join(os.DevNull, "none")}
}

// sequentially copies one blob at a time.
func sequentially() *copy.Options { return &copy.Options{MaxParallelDownloads: 1} }

// leftovers returns what is in a directory, and the files without a name in it
// that this process has open.
func leftovers(t testing.TB, dir string) []string {
	t.Helper()
	var found []string
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		found = append(found, e.Name())
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return found // Not Linux.
	}
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(target, dir+"/") {
			found = append(found, "open: "+strings.TrimPrefix(target, dir+"/"))
		}
	}
	return found
}

// asError is errors.As for error types that containers/image uses by value.
func asError[E error](err error, target *E) bool { return errors.As(err, target) }

// setConfig replaces the config.
func (m *memoryImage) setConfig(config []byte) {
	m.config = config
	m.manifest.Config.Digest, m.manifest.Config.Size = digest.FromBytes(config), int64(len(config))
}
