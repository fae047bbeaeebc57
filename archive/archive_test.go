package archive_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
)

// fixtures says what is in each archive of testdata/archives.
var fixtures = []struct {
	file    string
	carries bool     // the original manifests
	images  []string // the names in testdata/oci, in order
	tags    [][]string
}{
	{"skopeo.tar", false, []string{"one"}, [][]string{{"one:v1"}}},
	{"podman-multi.tar", false, []string{"one", "two"}, [][]string{{"one:v1", "one:again"}, {"two:v1"}}},
	{"docker20.tar", false, []string{"one"}, [][]string{{"one:v1"}}},
	{"docker29.tar", true, []string{"one"}, [][]string{{"one:v1"}}},
	{"crane.tar", false, []string{"one"}, [][]string{{"one:v1"}}},
	{"ctr24.tar", true, []string{"multi", "one"}, [][]string{{"multi:v1"}, {"one:v1"}}},
}

const fixtureRepository = "127.0.0.1:5111/tiny/"

func TestArchivesThatOthersWrote(t *testing.T) {
	for _, f := range fixtures {
		t.Run(f.file, func(t *testing.T) {
			a := openFixture(t, f.file)
			require.Len(t, a.Images(), len(f.images))
			for n, img := range a.Images() {
				assert.Equal(t, n, img.Position)
				require.Len(t, img.Names, len(f.tags[n]))
				for i, tag := range f.tags[n] {
					assert.Equal(t, fixtureRepository+tag, img.Names[i])
				}
				if f.images[n] != "multi" {
					requireParts(t, img, partsOf(t, f.images[n]), f.carries)
				}
			}
			problems, err := readEverything(t.Context(), a)
			require.NoError(t, err)
			assert.Empty(t, problems)
		})
	}
}

// TestCompressedArchives reads archives that are compressed as a whole.
func TestCompressedArchives(t *testing.T) {
	plain, err := os.ReadFile(filepath.Join(testdata, "archives", "skopeo.tar"))
	require.NoError(t, err)
	compressed := map[string][]byte{"gzip": gzipped(t, plain)}
	for name, compress := range map[string]func(io.Writer) (io.WriteCloser, error){
		"zstd": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
		"xz":   func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
	} {
		var b bytes.Buffer
		w, err := compress(&b)
		require.NoError(t, err)
		_, err = w.Write(plain)
		require.NoError(t, errors.Join(err, w.Close()))
		compressed[name] = b.Bytes()
	}
	compressed["bzip2"], err = os.ReadFile(filepath.Join(testdata, "archives", "skopeo.tar.bz2"))
	require.NoError(t, err)
	for name, data := range compressed {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "archive")
			require.NoError(t, os.WriteFile(path, data, 0o600))
			a, err := archive.Open(t.Context(), path)
			require.NoError(t, err)
			requireParts(t, a.Images()[0], partsOf(t, "one"), false)
			assert.Equal(t, int64(len(plain)), a.Size())
			require.NoError(t, a.Close())
			require.NoError(t, a.Close())
		})
	}
}

// TestLargeConfig refuses to read a config that could not have come from a
// registry.
func TestLargeConfig(t *testing.T) {
	b := newTarball(t)
	data, err := json.Marshal(v1.Manifest{Config: v1.Descriptor{Digest: b.blob(make([]byte, 5<<20))}})
	require.NoError(t, err)
	a := open(t, b.json("index.json", v1.Index{Manifests: []v1.Descriptor{{Digest: b.blob(data)}}}).close())
	m, err := a.Images()[0].Manifest(t.Context())
	require.NoError(t, err)
	_, err = m.Config(t.Context())
	require.ErrorIs(t, err, errdef.ErrLimit)
}

func TestOCILayout(t *testing.T) {
	b := newTarball(t)
	require.NoError(t, b.AddFS(os.DirFS(filepath.Join(testdata, "oci"))))
	a := open(t, b.close())
	var names []string
	for _, img := range a.Images() {
		names = append(names, img.Names...)
	}
	assert.Equal(t, []string{"one", "two", "zstd", "multi"}, names)
	problems, err := readEverything(t.Context(), a)
	require.NoError(t, err)
	assert.Empty(t, problems)
	img, err := a.Find("one")
	require.NoError(t, err)
	requireParts(t, img, partsOf(t, "one"), true)
}

func TestPlatforms(t *testing.T) {
	ctx := t.Context()
	img := openFixture(t, "ctr24.tar").Images()[0]
	m, err := img.Manifest(ctx)
	require.NoError(t, err)
	require.True(t, m.IsIndex())
	assert.False(t, m.Made)
	assert.Equal(t, ociIndex(t)["multi"].Digest, m.Digest)
	assert.Equal(t, string(ociBlob(t, m.Digest)), string(m.Data))
	require.Len(t, m.Manifests(), 3)
	_, err = m.Layers(ctx)
	require.ErrorContains(t, err, "it is no manifest")

	amd64, err := img.ForPlatform(ctx, v1.Platform{OS: "linux", Architecture: "amd64"})
	require.NoError(t, err)
	config, err := amd64.Config(ctx)
	require.NoError(t, err)
	assert.Equal(t, partsOf(t, "two").configDigest, digest.FromBytes(config))
	arm64, err := img.ForPlatform(ctx, v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"})
	require.NoError(t, err)
	config, err = arm64.Config(ctx)
	require.NoError(t, err)
	assert.Equal(t, digest.Digest("sha256:7f621764e4adbeaee1f9257cb63a276c156503922dc5317ca0bf35f822c44541"), digest.FromBytes(config))

	_, err = img.ForPlatform(ctx, v1.Platform{OS: "linux", Architecture: "s390x"})
	none, ok := errors.AsType[*errdef.NoPlatformError](err)
	require.True(t, ok, err)
	assert.Equal(t, &errdef.NoPlatformError{Wanted: "linux/s390x", Available: []string{"linux/amd64", "linux/arm64/v8"}}, none)

	d, err := img.Describe(ctx)
	require.NoError(t, err)
	require.Len(t, d.Manifests, 3)
	assert.Equal(t, []bool{false, false, true}, []bool{d.Manifests[0].Attestation, d.Manifests[1].Attestation, d.Manifests[2].Attestation})
	assert.Equal(t, amd64.Digest, d.Manifests[0].Digest)
	attestation, err := img.Instance(ctx, d.Manifests[2].Digest)
	require.NoError(t, err)
	layers, err := attestation.Layers(ctx)
	require.NoError(t, err)
	for _, l := range layers {
		require.NoError(t, readLayer(ctx, l))
	}
	_, err = img.Instance(ctx, digest.FromString("none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestPlatformOfOneImage asks a single image, with and without a manifest, for
// platforms.
func TestPlatformOfOneImage(t *testing.T) {
	for _, file := range []string{"skopeo.tar", "docker29.tar"} {
		img := openFixture(t, file).Images()[0]
		d, err := img.Describe(t.Context())
		require.NoError(t, err)
		require.False(t, d.Platform.IsZero())
		want, err := img.Manifest(t.Context())
		require.NoError(t, err)
		got, err := img.ForPlatform(t.Context(), d.Platform.Platform)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		_, err = img.ForPlatform(t.Context(), v1.Platform{OS: "plan9", Architecture: "mips"})
		_, ok := errors.AsType[*errdef.NoPlatformError](err)
		assert.True(t, ok, err)
	}
}

// TestPartialArchive reads one without a platform that its index lists, and one
// without a layer.
func TestPartialArchive(t *testing.T) {
	ctx := t.Context()
	p := partsOf(t, "one")
	amd64, arm64 := p.manifest, v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromString("not there"), Size: 9}
	amd64.Platform, arm64.Platform = &v1.Platform{OS: "linux", Architecture: "amd64"}, &v1.Platform{OS: "linux", Architecture: "arm64"}
	b := newTarball(t).blobs(p)
	b.json("list", v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{arm64, amd64}})
	index := b.Bytes()[bytes.LastIndex(b.Bytes(), []byte(`{"schemaVersion":0`)):]
	index = bytes.TrimRight(index, "\x00")
	d := v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: b.blob(bytes.Clone(index)), Size: int64(len(index))}
	img := open(t, b.json("index.json", v1.Index{Manifests: []v1.Descriptor{d}}).close()).Images()[0]
	_, err := img.ForPlatform(ctx, *arm64.Platform)
	require.ErrorIs(t, err, fs.ErrNotExist)
	m, err := img.ForPlatform(ctx, *amd64.Platform)
	require.NoError(t, err)
	assert.Equal(t, p.manifest.Digest, m.Digest)
	_, err = img.ForPlatform(ctx, v1.Platform{OS: "linux", Architecture: "arm"})
	require.ErrorContains(t, err, "there is no image for linux/arm, only for linux/amd64")

	b = newTarball(t).file("blobs/sha256/"+p.manifest.Digest.Encoded(), ociBlob(t, p.manifest.Digest))
	b.file("blobs/sha256/"+p.configDigest.Encoded(), p.config)
	img = open(t, b.json("index.json", v1.Index{Manifests: []v1.Descriptor{p.manifest}}).close()).Images()[0]
	m, err = img.Manifest(ctx)
	require.NoError(t, err)
	layers, err := m.Layers(ctx)
	require.NoError(t, err)
	require.Len(t, layers, len(p.digests))
	_, err = layers[0].Open(ctx)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestFind(t *testing.T) {
	p := partsOf(t, "one")
	b := newTarball(t).file("a.json", p.config).file("other.json", append([]byte(" "), p.config...))
	var layers []string
	for i, c := range p.content {
		name := p.diffIDs[i].Encoded() + ".tar"
		b.file(name, c)
		layers = append(layers, name)
	}
	a := open(t, b.json("manifest.json", []item{
		{"a.json", []string{"short", "library/tagged:v2", "twice:v1"}, layers},
		{"other.json", []string{"not a name!", "twice:v1"}, layers},
		{"a.json", nil, layers},
	}).close())
	for name, want := range map[string]int{
		"short": 0, "docker.io/library/short:latest": 0, "tagged:v2": 0, "@0": 0, "@2": 2, "not a name!": 1,
	} {
		img, err := a.Find(name)
		require.NoError(t, err, name)
		assert.Equal(t, want, img.Position, name)
	}
	all := []string{"@0 short library/tagged:v2 twice:v1", "@1 not a name! twice:v1", "@2"}
	for name, want := range map[string]error{
		"none":     &errdef.NoImageError{Wanted: "docker.io/library/none:latest", Available: all},
		"@3":       &errdef.NoImageError{Wanted: "@3", Available: all},
		"no name!": &errdef.NoImageError{Wanted: "no name!", Available: all},
		"twice:v1": &errdef.AmbiguousError{Wanted: "docker.io/library/twice:v1", Matches: 2, Available: all},
		"":         &errdef.AmbiguousError{Matches: 3, Available: all},
	} {
		_, err := a.Find(name)
		assert.Equal(t, want, err, name)
	}
	for _, empty := range []any{[]item{}, nil} { // kaniko writes null.
		none := newTarball(t).json("manifest.json", empty).close()
		_, err := archive.New(t.Context(), bytes.NewReader(none), int64(len(none)))
		require.ErrorIs(t, err, errdef.ErrNoImageArchive)
		assert.ErrorContains(t, err, "manifest.json lists none")
	}
	one, err := openFixture(t, "skopeo.tar").Find("")
	require.NoError(t, err)
	assert.Zero(t, one.Position)
}

// TestSections checks that blobs are where Section says, in what New was given.
func TestSections(t *testing.T) {
	ctx := t.Context()
	for file, whole := range map[string]bool{"skopeo.tar": true, "docker29.tar": true, "crane.tar": false} {
		data, err := os.ReadFile(filepath.Join(testdata, "archives", file))
		require.NoError(t, err)
		r := bytes.NewReader(data)
		a, err := archive.New(ctx, r, r.Size())
		require.NoError(t, err)
		m, err := a.Images()[0].Manifest(ctx)
		require.NoError(t, err)
		layers, err := m.Layers(ctx)
		require.NoError(t, err)
		for _, l := range layers {
			b, err := l.Blob(ctx)
			require.NoError(t, err)
			s := b.Section()
			if !whole { // Its layers are compressed, and their digests are not.
				assert.Nil(t, s)
				continue
			}
			outer, offset, size := s.Outer()
			assert.Same(t, r, outer)
			assert.Equal(t, b.Digest, digest.FromBytes(data[offset:offset+size]))
		}
	}
}

func TestConcurrentReading(t *testing.T) {
	a := openFixture(t, "podman-multi.tar")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := readEverything(t.Context(), a)
			assert.NoError(t, err)
		})
	}
	wg.Wait()
}

func TestReadingEndsWithItsContext(t *testing.T) {
	path := filepath.Join(testdata, "archives", "skopeo.tar")
	ctx, cancel := context.WithCancel(t.Context())
	a := openFixture(t, "skopeo.tar")
	m, err := a.Images()[0].Manifest(ctx)
	require.NoError(t, err)
	layers, err := m.Layers(ctx)
	require.NoError(t, err)
	cancel()
	_, err = archive.Open(ctx, path)
	require.ErrorIs(t, err, context.Canceled)
	_, err = a.Verify(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	stream, err := layers[0].Open(ctx)
	require.NoError(t, err)
	_, err = io.ReadAll(stream)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, stream.Close())
}

func TestWhatIsNoArchive(t *testing.T) {
	dir := t.TempDir()
	_, err := archive.Open(t.Context(), filepath.Join(dir, "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = archive.Open(t.Context(), dir)
	require.Error(t, err)
	for name, data := range map[string][]byte{
		"empty":    nil,
		"short":    []byte("hello"),
		"text":     bytes.Repeat([]byte("hello\n"), 1000),
		"zeros":    make([]byte, 10<<10),
		"no image": newTarball(t).file("etc/passwd", []byte("root")).close(),
		"gzipped":  gzipped(t, []byte("hello")),
	} {
		path := filepath.Join(dir, "file")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		_, err := archive.Open(t.Context(), path)
		assert.ErrorIs(t, err, errdef.ErrNoImageArchive, name)
		assert.ErrorContains(t, err, path, name)
	}
}
