package making_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/directory"
	theirs "go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
	"go.uber.org/goleak"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/leaktest"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/podman/making"
	"github.com/dockerarchive/dockerarchive/progress"
)

var (
	errTest = errors.New("test")
	day     = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
)

// open opens an image as a base that is closed with the test.
func open(t testing.TB, ref types.ImageReference) *making.Base {
	t.Helper()
	b, err := making.OpenBase(t.Context(), imagetest.Isolated(), imagetest.Trusting(t), ref)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// app describes an image of two layers upon a base of two, and counts on the base.
func app(t testing.TB) (*compose.Image, *imagetest.Image) {
	base := imagetest.NewImage(t, "base", imagetest.Gzip(1, 100_000), imagetest.Zstd(2, 50_000))
	return &compose.Image{
		Base: open(t, base), BaseName: "example.com/base:1", TempDir: t.TempDir(),
		Layers: []compose.Layer{
			{Content: compose.Files(day, compose.File{Path: "app", Content: []byte("config")})},
			{Content: compose.Whiteouts("old")},
		},
		Change: func(c *compose.Config) error { return making.Apply(c, `CMD ["/app"]`) },
	}, base
}

// manifestOf returns the manifest that an image has.
func manifestOf(t testing.TB, ref types.ImageReference) []byte {
	t.Helper()
	source, err := ref.NewImageSource(t.Context(), imagetest.RegistryContext(t))
	require.NoError(t, err)
	defer source.Close()
	raw, _, err := source.GetManifest(t.Context(), nil)
	require.NoError(t, err)
	return raw
}

// An image that is made can be copied to any transport, and is the same everywhere.
func TestCopies(t *testing.T) {
	img, _ := app(t)
	name := imagetest.Tagged(t, "example.com/app:1")
	ref := making.Reference(img, name)
	want := digest.FromBytes(manifestOf(t, ref))

	dir := t.TempDir()
	to := map[string]types.ImageReference{}
	var err error
	to["dir"], err = directory.NewReference(t.TempDir())
	require.NoError(t, err)
	to["oci"], err = ocilayout.NewReference(filepath.Join(dir, "oci"), "x")
	require.NoError(t, err)
	to["image-archive"], err = dockerarchive.ImageTransport.ParseReference(filepath.Join(dir, "image.tar") + ":" + name.String())
	require.NoError(t, err)
	to["registry"] = imagetest.NewRegistry(t).Ref(t, "app:1")
	for name, to := range to {
		require.NoError(t, imagetest.Copy(t, to, ref, &copy.Options{DestinationCtx: imagetest.RegistryContext(t)}), name)
		assert.Equal(t, want, digest.FromBytes(manifestOf(t, to)), name)
	}
	assert.Empty(t, imagetest.Leftovers(t, img.TempDir))

	// Archives for docker have manifests of their own. Such a manifest takes no zstd.
	img.Base = open(t, imagetest.NewImage(t, "base", imagetest.Gzip(1, 100)))
	for _, transport := range []types.ImageTransport{theirs.Transport, dockerarchive.Transport} {
		path := filepath.Join(dir, "docker-"+transport.Name()+".tar")
		to, err := transport.ParseReference(path + ":" + name.String())
		require.NoError(t, err)
		require.NoError(t, imagetest.Copy(t, to, ref, nil))
		raw := manifestOf(t, to)
		var m manifest.Schema2
		require.NoError(t, json.Unmarshal(raw, &m))
		assert.Len(t, m.LayersDescriptors, 3)
		require.NoError(t, os.Remove(path))
	}
}

// A registry that has the layers of the base is not sent them, and they are not read.
func TestBaseIsNotRead(t *testing.T) {
	registry := imagetest.NewRegistry(t)
	base := imagetest.NewImage(t, "base", imagetest.Gzip(1, 100_000))
	sys := imagetest.RegistryContext(t)
	require.NoError(t, imagetest.Copy(t, registry.Ref(t, "app:base"), base, &copy.Options{DestinationCtx: sys}))
	opened, err := making.OpenBase(t.Context(), sys, nil, registry.Ref(t, "app:base"))
	require.NoError(t, err)
	defer opened.Close()
	registry.Gets()
	img, _ := app(t)
	img.Base = opened
	require.NoError(t, imagetest.Copy(t, registry.Ref(t, "app:1"), making.Reference(img, nil), &copy.Options{DestinationCtx: sys}))
	assert.Zero(t, registry.Gets()[base.Layers[0].Digest.String()])
}

func TestSource(t *testing.T) {
	img, base := app(t)
	name := imagetest.Tagged(t, "example.com/app:1")
	ref := making.Reference(img, name)
	assert.Equal(t, "made:example.com/app:1", ref.Transport().Name()+":"+ref.StringWithinTransport())
	assert.Equal(t, name, ref.DockerReference())
	assert.Empty(t, ref.PolicyConfigurationIdentity())
	assert.Empty(t, ref.PolicyConfigurationNamespaces())
	require.Error(t, ref.Transport().ValidatePolicyConfigurationScope("x"))
	_, err := ref.Transport().ParseReference("x")
	require.Error(t, err)
	_, err = ref.NewImageDestination(t.Context(), nil)
	require.ErrorContains(t, err, "cannot be written to")
	require.NoError(t, ref.DeleteImage(t.Context(), nil))
	assert.Nil(t, making.Reference(img, nil).DockerReference())

	source, err := ref.NewImageSource(t.Context(), nil)
	require.NoError(t, err)
	assert.Same(t, ref, source.Reference())
	raw, mimeType, err := source.GetManifest(t.Context(), nil)
	require.NoError(t, err)
	assert.Equal(t, imgspecv1.MediaTypeImageManifest, mimeType)
	other := digest.FromString("other")
	again, _, err := source.GetManifest(t.Context(), &other)
	require.NoError(t, err)
	assert.Equal(t, raw, again, "instances are ignored")
	signatures, err := source.GetSignatures(t.Context(), nil)
	require.NoError(t, err)
	assert.Empty(t, signatures)
	infos, err := source.LayerInfosForCopy(t.Context(), nil)
	require.NoError(t, err)
	assert.Nil(t, infos)
	assert.True(t, source.HasThreadSafeGetBlob())
	assert.Empty(t, base.Gets[base.Layers[0].Digest], "the base is not read before it is wanted")

	m, err := manifest.OCI1FromManifest(raw)
	require.NoError(t, err)
	var all sync.WaitGroup
	for range 4 {
		for _, d := range append(m.Layers, m.Config) {
			all.Go(func() {
				body, size, err := source.GetBlob(t.Context(), manifest.BlobInfoFromOCI1Descriptor(d), none.NoCache)
				if !assert.NoError(t, err) {
					return
				}
				defer body.Close()
				data, err := io.ReadAll(body)
				assert.NoError(t, err)
				assert.Equal(t, d.Size, size)
				assert.Equal(t, d.Digest, digest.FromBytes(data))
			})
		}
	}
	all.Wait()
	_, _, err = source.GetBlob(t.Context(), types.BlobInfo{Digest: other}, none.NoCache)
	require.ErrorContains(t, err, "has no blob "+other.String())
	require.NoError(t, source.Close())
	require.NoError(t, source.Close(), "twice")
	assert.Empty(t, imagetest.Leftovers(t, img.TempDir))

	opened, err := ref.NewImage(t.Context(), imagetest.Isolated())
	require.NoError(t, err)
	config, err := opened.OCIConfig(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"/app"}, config.Config.Cmd)
	require.NoError(t, opened.Close())
}

// An image that cannot be made leaves nothing behind.
func TestFails(t *testing.T) {
	defer leaktest.None(t, goleak.IgnoreCurrent())
	img, base := app(t)
	fail := compose.Layer{Content: compose.Stream("broken", io.MultiReader(io.LimitReader(neverEnding{}, 1<<20), iotest.ErrReader(errTest)))}
	img.Layers = append(img.Layers, fail)
	_, err := making.Reference(img, nil).NewImageSource(t.Context(), nil)
	require.ErrorContains(t, err, "layer broken: ")
	assert.Empty(t, imagetest.Leftovers(t, img.TempDir))
	_, err = making.Reference(img, nil).NewImage(t.Context(), nil)
	require.ErrorContains(t, err, "layer broken: broken can be read only once")

	dir := t.TempDir()
	for _, transport := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
		_, err = making.WriteArchive(t.Context(), filepath.Join(dir, "a.tar"), img, &making.ArchiveOptions{Transport: transport})
		require.ErrorContains(t, err, "layer broken: ")
		assert.Empty(t, imagetest.Leftovers(t, dir))
		assert.Empty(t, imagetest.Leftovers(t, img.TempDir))
	}

	img.Layers = img.Layers[:2]
	base.Disturb = imagetest.BrokenAt(base.Layers[0].Digest, 1000, 100, errTest)
	_, err = making.WriteArchive(t.Context(), filepath.Join(dir, "a.tar"), img, nil)
	require.ErrorIs(t, err, errTest)
	require.ErrorContains(t, err, "reading the base: ")
	assert.Empty(t, imagetest.Leftovers(t, dir))
	base.Disturb = nil

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = making.WriteArchive(ctx, filepath.Join(dir, "a.tar"), img, nil)
	require.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, imagetest.Leftovers(t, dir))
	_, err = making.WriteArchive(t.Context(), filepath.Join(dir, "none", "a.tar"), img, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = making.WriteArchive(t.Context(), filepath.Join(dir, "a.tar"), img, &making.ArchiveOptions{Transport: directory.Transport})
	require.ErrorContains(t, err, "transport dir does not write archives")
}

// neverEnding is an endless tar of no file.
type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 0
	}
	return len(p), nil
}

// WriteArchive writes the same archive as a copy.
func TestWriteArchive(t *testing.T) {
	img, base := app(t)
	dir := t.TempDir()
	names := []reference.Named{imagetest.Tagged(t, "example.com/app:1"), imagetest.Tagged(t, "example.com/app:2")}
	path := filepath.Join(dir, "image.tar")
	var mu sync.Mutex
	read, done := map[string]int{}, map[string]bool{}
	img.Progress = func(e progress.Event) {
		mu.Lock()
		defer mu.Unlock()
		layer := cmp.Or(e.Name, e.Blob.String())
		read[layer] += e.Bytes
		done[layer] = done[layer] || e.Kind == progress.Finished
	}
	made, err := making.WriteArchive(t.Context(), path, img, &making.ArchiveOptions{Names: names})
	require.NoError(t, err)
	assert.Empty(t, imagetest.Leftovers(t, img.TempDir))
	assert.Equal(t, 1, base.Gets[base.Layers[0].Digest])
	assert.Len(t, done, 4)
	assert.NotContains(t, slices.Collect(maps.Values(done)), false)
	assert.Equal(t, len(base.Layers[0].Blob), read[base.Layers[0].Digest.String()])
	assert.Equal(t, 1536, read["of whiteouts"], "a header, and the end")
	ref, err := dockerarchive.ImageTransport.ParseReference(path + ":example.com/app:2")
	require.NoError(t, err)
	assert.Equal(t, made.Digest(), digest.FromBytes(manifestOf(t, ref)))
	copied, err := dockerarchive.ImageTransport.ParseReference(filepath.Join(dir, "copied.tar") + ":example.com/app:1")
	require.NoError(t, err)
	sys := imagetest.Isolated()
	sys.DockerArchiveAdditionalTags = []reference.NamedTagged{imagetest.Tagged(t, "example.com/app:2")}
	require.NoError(t, imagetest.Copy(t, copied, making.Reference(img, nil), &copy.Options{DestinationCtx: sys}))
	assert.Equal(t, imagetest.ReadFile(t, filepath.Join(dir, "copied.tar")), imagetest.ReadFile(t, path))

	docker := filepath.Join(dir, "docker.tar")
	_, err = making.WriteArchive(t.Context(), docker, img, &making.ArchiveOptions{Names: names[:1], Transport: dockerarchive.Transport})
	require.NoError(t, err)
	for _, path := range []string{path, docker} {
		r, err := dockerarchive.NewReader(nil, path)
		require.NoError(t, err)
		report, err := r.Verify(t.Context(), nil)
		require.NoError(t, err)
		assert.Empty(t, report.Problems)
		images, err := r.Images(t.Context())
		require.NoError(t, err)
		assert.Len(t, images, 1)
		require.NoError(t, r.Close())
	}

	// Without a base, squashed, of a stream.
	for _, transport := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
		for _, squash := range []bool{false, true} {
			img := &compose.Image{
				Layers: []compose.Layer{{Content: compose.Stream("x", bytes.NewReader(imagetest.Gzip(3, 1000).Blob))}}, Squash: squash, TempDir: t.TempDir(), Format: compose.Docker,
				Change: func(c *compose.Config) error {
					c.SetPlatform(imgspecv1.Platform{OS: "linux", Architecture: "amd64"})
					return nil
				},
			}
			_, err := making.WriteArchive(t.Context(), filepath.Join(t.TempDir(), "a.tar"), img, &making.ArchiveOptions{Transport: transport})
			require.NoError(t, err)
			assert.Empty(t, imagetest.Leftovers(t, img.TempDir))
		}
	}
}

// The image for a platform in an index is the base.
func TestIndexAsBase(t *testing.T) {
	for _, architecture := range []string{"amd64", "arm64"} {
		sys := imagetest.Isolated()
		sys.ArchitectureChoice, sys.OSChoice = architecture, "linux"
		b, err := making.OpenBase(t.Context(), sys, imagetest.Trusting(t), imagetest.Saved(t, "multi"))
		require.NoError(t, err)
		defer b.Close()
		opened, err := making.Reference(&compose.Image{Base: b, TempDir: t.TempDir()}, nil).NewImage(t.Context(), sys)
		require.NoError(t, err)
		config, err := opened.OCIConfig(t.Context())
		require.NoError(t, err)
		assert.Equal(t, architecture, config.Architecture)
		require.NoError(t, opened.Close())
	}
	sys := imagetest.Isolated()
	sys.ArchitectureChoice, sys.OSChoice = "mips", "linux"
	_, err := making.OpenBase(t.Context(), sys, nil, imagetest.Saved(t, "multi"))
	require.ErrorContains(t, err, "oci:")
}

func TestOpenBase(t *testing.T) {
	_, err := making.OpenBase(t.Context(), imagetest.Isolated(), imagetest.Rejecting(t), imagetest.Saved(t, "one"))
	require.ErrorContains(t, err, "rejected by policy")
	ref, err := ocilayout.NewReference(t.TempDir(), "none")
	require.NoError(t, err)
	_, err = making.OpenBase(t.Context(), imagetest.Isolated(), nil, ref)
	require.ErrorIs(t, err, os.ErrNotExist)

	// A base whose config does not fit its layers.
	base := imagetest.NewImage(t, "x", imagetest.Gzip(1, 1000))
	base.SetConfig([]byte(`{}`))
	base.Encode(t)
	_, err = making.Reference(&compose.Image{Base: open(t, base)}, nil).NewImageSource(t.Context(), nil)
	require.ErrorIs(t, err, errdef.ErrDamaged)
}

// Saved beside others, an image is made once.
func TestSave(t *testing.T) {
	img, base := app(t)
	img.Layers[0].Content = compose.Stream("x", bytes.NewReader(imagetest.Plain(3, 1000).Blob))
	path := filepath.Join(t.TempDir(), "saved.tar")
	results, err := copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{
		{Source: making.Reference(img, nil), Names: []reference.Named{imagetest.Tagged(t, "example.com/app:1")}},
		{Source: base, Names: []reference.Named{imagetest.Tagged(t, "example.com/base:1")}},
	}, nil)
	require.NoError(t, err)
	require.Len(t, results, 2)
	assert.Empty(t, imagetest.Leftovers(t, img.TempDir))
}

// single is an image that lets one blob be read at a time.
type single struct{ *imagetest.Image }

func (s single) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return &singleSource{Source: imagetest.Source{Image: s.Image}}, nil
}

type singleSource struct {
	imagetest.Source
	busy atomic.Int32
}

func (s *singleSource) HasThreadSafeGetBlob() bool { return false }

func (s *singleSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	if s.busy.Add(1) > 1 {
		return nil, 0, errTest
	}
	body, size, err := s.Source.GetBlob(ctx, info, cache)
	return &singleBody{body, s}, size, err
}

type singleBody struct {
	io.ReadCloser
	source *singleSource
}

func (b *singleBody) Close() error {
	b.source.busy.Add(-1)
	return b.ReadCloser.Close()
}

func TestOneBlobAtATime(t *testing.T) {
	img, base := app(t)
	img.Base = open(t, single{base})
	for _, squash := range []bool{false, true} {
		img.Squash = squash
		_, err := making.WriteArchive(t.Context(), filepath.Join(t.TempDir(), "a.tar"), img, nil)
		require.NoError(t, err)
	}
	img.Squash = false
	to, err := directory.NewReference(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, imagetest.Copy(t, to, making.Reference(img, nil), nil))
}

// A policy can allow to copy an image that was made, and nothing else.
func TestPolicy(t *testing.T) {
	img, base := app(t)
	policy, err := signature.NewPolicyFromBytes([]byte(`{"default":[{"type":"reject"}],"transports":{"made":{"":[{"type":"insecureAcceptAnything"}]}}}`))
	require.NoError(t, err)
	for ref, allowed := range map[types.ImageReference]bool{making.Reference(img, nil): true, base: false} {
		context, err := signature.NewPolicyContext(policy)
		require.NoError(t, err)
		to, err := directory.NewReference(t.TempDir())
		require.NoError(t, err)
		_, err = copy.Image(t.Context(), context, to, ref, &copy.Options{DestinationCtx: imagetest.Isolated()})
		assert.Equal(t, allowed, err == nil, err)
		require.NoError(t, context.Destroy())
	}
}

// An archive is written once, and has the bytes that copying would give it.
func TestWrittenOnce(t *testing.T) {
	out, level := logrus.StandardLogger().Out, logrus.GetLevel()
	t.Cleanup(func() { logrus.SetOutput(out); logrus.SetLevel(level) })
	logrus.SetLevel(logrus.DebugLevel)
	gzip, plain := imagetest.Gzip(1, 100_000), imagetest.Plain(2, 50_000)
	added := []compose.Layer{
		{Content: compose.Files(day, compose.File{Path: "a", Content: make([]byte, 1<<17)})},
		{Content: compose.Stream("b", bytes.NewReader(imagetest.Gzip(3, 200_000).Blob))},
		{History: imgspecv1.History{CreatedBy: "nothing"}},
		{Content: compose.Files(day, compose.File{Path: "c", Content: make([]byte, 1<<17)})},
	}
	for name, layers := range map[string][]imagetest.Layer{"none": nil, "one": {gzip}, "mixed": {gzip, plain}, "twice": {plain, plain}, "again": {imagetest.Gzip(3, 200_000)}} {
		for _, transport := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
			t.Run(name+" "+transport.Name(), func(t *testing.T) {
				img := &compose.Image{Base: open(t, imagetest.NewImage(t, "base", layers...)), Layers: slices.Clone(added), TempDir: t.TempDir()}
				dir := t.TempDir()
				names := []reference.Named{imagetest.Tagged(t, "example.com/app:1")}
				var lines bytes.Buffer
				logrus.SetOutput(&lines)
				_, err := making.WriteArchive(t.Context(), filepath.Join(dir, "made.tar"), img, &making.ArchiveOptions{Transport: transport, Names: names})
				require.NoError(t, err)
				logrus.SetOutput(io.Discard)
				if layers == nil { // If there are several layers at once, some wait for their places, or all.
					assert.Contains(t, lines.String(), "in its place")
					assert.NotContains(t, lines.String(), "temporary file")
				}
				img.Layers[1].Content = compose.Stream("b", bytes.NewReader(imagetest.Gzip(3, 200_000).Blob))
				to, err := transport.ParseReference(filepath.Join(dir, "copied.tar") + ":example.com/app:1")
				require.NoError(t, err)
				require.NoError(t, imagetest.Copy(t, to, making.Reference(img, nil), imagetest.Sequentially()))
				assert.Equal(t, digest.FromBytes(imagetest.ReadFile(t, filepath.Join(dir, "copied.tar"))), digest.FromBytes(imagetest.ReadFile(t, filepath.Join(dir, "made.tar"))))
				added[1].Content = compose.Stream("b", bytes.NewReader(imagetest.Gzip(3, 200_000).Blob))
			})
		}
	}
}

// The manifest that containers/image makes up for a docker archive is corrected: its layers
// are not compressed.
func TestBaseWithoutAManifest(t *testing.T) {
	saved := imagetest.Theirs(t, imagetest.Named{Source: imagetest.Saved(t, "one"), Name: "app:1"})
	ref, err := theirs.NewReference(imagetest.WriteFile(t, saved), imagetest.Tagged(t, "app:1"))
	require.NoError(t, err)
	base, err := making.OpenBase(t.Context(), nil, nil, ref)
	require.NoError(t, err)
	defer func() { assert.NoError(t, base.Close()) }()
	path := filepath.Join(t.TempDir(), "made.tar")
	made, err := making.WriteArchive(t.Context(), path, &compose.Image{Base: base, Layers: []compose.Layer{{}}}, nil)
	require.NoError(t, err)
	require.NotEmpty(t, made.Base)
	for _, l := range made.Base {
		assert.Equal(t, imgspecv1.MediaTypeImageLayer, l.MediaType)
	}
}
