package copying_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/daemon"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// writeWays are the ways to write an image-archive: this module's, and the pipeline of
// another program.
var writeWays = []struct {
	name  string
	write func(t *testing.T, path string, src types.ImageReference, name string, options *copy.Options) error
}{
	{"Save", func(t *testing.T, path string, src types.ImageReference, name string, options *copy.Options) error {
		o := saving(t)
		if options.SourceCtx != nil {
			o.SourceCtx = options.SourceCtx
		}
		_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{named(t, src, name)}, o)
		return err
	}},
	{"Copy", func(t *testing.T, path string, src types.ImageReference, name string, options *copy.Options) error {
		ref, err := dockerarchive.ImageTransport.ParseReference(path + ":" + name)
		require.NoError(t, err)
		_, err = copying.Copy(t.Context(), imagetest.Trusting(t), ref, src, &copying.CopyOptions{Options: *options})
		return err
	}},
	{"copy.Image", func(t *testing.T, path string, src types.ImageReference, name string, options *copy.Options) error {
		ref, err := dockerarchive.ImageTransport.ParseReference(path + ":" + name)
		require.NoError(t, err)
		return imagetest.Copy(t, ref, src, options)
	}},
}

// sound returns the manifest of the only image of an archive in which nothing is wrong.
func sound(t *testing.T, path string) *image.Document {
	t.Helper()
	r, err := dockerarchive.NewReader(nil, path)
	require.NoError(t, err)
	defer func() { assert.NoError(t, r.Close()) }()
	report, err := r.Verify(t.Context(), nil)
	require.NoError(t, err)
	assert.Empty(t, report.Problems)
	list, err := r.List()
	require.NoError(t, err)
	require.Len(t, list, 1)
	src, err := list[0][0].NewImageSource(t.Context(), nil)
	require.NoError(t, err)
	defer func() { assert.NoError(t, src.Close()) }()
	raw, mimeType, err := src.GetManifest(t.Context(), nil)
	require.NoError(t, err)
	document, err := image.ParseDocument(raw, mimeType)
	require.NoError(t, err)
	return document
}

// The manifest that containers/image makes up for an image of Docker calls its layers
// compressed. The written manifest says what they are.
func TestTypesOfMadeUpManifests(t *testing.T) {
	quiet(t)
	img := imagetest.NewImage(t, "made up", imagetest.Plain(1, 2000), imagetest.Gzip(2, 3000), imagetest.Plain(1, 2000))
	saved := imagetest.Theirs(t, imagetest.Named{Source: img.InGzip(t), Name: "app:1"})
	sys := imagetest.Isolated()
	sys.DockerDaemonHost = imagetest.Daemon(t, map[string][]byte{"app:1": saved})
	sys.BigFilesTemporaryDir = t.TempDir()
	theirs, err := archive.NewReference(imagetest.WriteFile(t, saved), imagetest.Tagged(t, "app:1"))
	require.NoError(t, err)
	ours, err := dockerarchive.NewReference(imagetest.WriteFile(t, saved), imagetest.Tagged(t, "app:1"))
	require.NoError(t, err)
	ofDaemon, err := daemon.NewReference("", imagetest.Tagged(t, "app:1"))
	require.NoError(t, err)
	for name, src := range map[string]types.ImageReference{"docker-daemon": ofDaemon, "their docker-archive": theirs, "our docker-archive": ours} {
		for _, way := range writeWays {
			for _, mimeType := range []string{"", v1.MediaTypeImageManifest} {
				if mimeType != "" && way.name == "Save" {
					continue // Save converts nothing.
				}
				t.Run(name+"/"+way.name+"/"+mimeType, func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "out.tar")
					options := &copy.Options{SourceCtx: sys, ForceManifestMIMEType: mimeType}
					require.NoError(t, way.write(t, path, src, "app:1", options))
					document := sound(t, path)
					want := image.DockerLayer
					if mimeType != "" {
						want = v1.MediaTypeImageLayer
					}
					require.Len(t, document.Layers, 3)
					for n, l := range document.Layers {
						assert.Equal(t, want, l.MediaType)
						assert.Equal(t, img.Layers[n].DiffID(), l.Digest)
					}
				})
			}
		}
	}
}

// A manifest that is copied elsewhere is true as well.
func TestTypesOfMadeUpManifestsElsewhere(t *testing.T) {
	saved := imagetest.Theirs(t, imagetest.Named{Source: imagetest.Saved(t, "one"), Name: "app:1"})
	src, err := archive.NewReference(imagetest.WriteFile(t, saved), imagetest.Tagged(t, "app:1"))
	require.NoError(t, err)
	dir := t.TempDir()
	dest, err := directory.NewReference(dir)
	require.NoError(t, err)
	m, err := copying.Copy(t.Context(), imagetest.Trusting(t), dest, src, &copying.CopyOptions{Options: copy.Options{DestinationCtx: imagetest.Isolated()}})
	require.NoError(t, err)
	document, err := image.ParseDocument(m, "")
	require.NoError(t, err)
	require.NotEmpty(t, document.Layers)
	for _, l := range document.Layers {
		assert.Equal(t, image.DockerLayer, l.MediaType)
	}
}

// An image with contradictions that an OCI layout may not have is refused when it is
// written, in the words of verify, and nothing is left.
func TestContradictionsAreNotWritten(t *testing.T) {
	quiet(t)
	plain, other, packed := imagetest.Plain(1, 2000), imagetest.Plain(2, 2000), imagetest.Gzip(3, 3000)
	retyped := func(l imagetest.Layer, mediaType string) imagetest.Layer {
		l.MediaType = mediaType
		return l
	}
	withIDs := func(ids []digest.Digest, layers ...imagetest.Layer) *imagetest.Image {
		config := v1.Image{Platform: v1.Platform{OS: "linux", Architecture: "amd64"}}
		config.RootFS.DiffIDs = ids
		return imagetest.NewImageOfConfig(t, config, layers...)
	}
	noted := imagetest.NewImage(t, "not made up", retyped(plain, v1.MediaTypeImageLayerGzip))
	noted.Manifest.Annotations = map[string]string{"a": "b"}
	noted.Encode(t)
	bigger := imagetest.NewImage(t, "size", packed)
	bigger.Manifest.Config.Size++
	bigger.Encode(t)
	noRoot := imagetest.NewImageOfConfig(t, map[string]any{"os": "linux"}, plain)
	for name, c := range map[string]struct {
		img  *imagetest.Image
		want string
	}{
		"plain called gzip":     {noted, "has the media type " + v1.MediaTypeImageLayerGzip + ", but its compression is none"},
		"gzip called plain":     {imagetest.NewImage(t, "a", retyped(packed, v1.MediaTypeImageLayer)), "but its compression is gzip"},
		"gzip called zstd":      {imagetest.NewImage(t, "b", plain, retyped(packed, v1.MediaTypeImageLayerZstd)), "layer 1: blob"},
		"digest for diff ID":    {withIDs([]digest.Digest{packed.Digest}, packed), "which is the digest of the layer as it is compressed"},
		"another order":         {withIDs([]digest.Digest{other.Digest, plain.Digest}, plain, other), "lists the layers in another order than the config"},
		"another layer":         {withIDs([]digest.Digest{other.Digest}, plain), "is not compressed, but its config has the diff ID"},
		"a layer too many":      {withIDs([]digest.Digest{plain.Digest}, plain, other), "lists 2 layers, but its config has 1 diff IDs"},
		"size of the config":    {bigger, "bytes"},
		"config without rootfs": {noRoot, "has no rootfs"},
	} {
		for _, way := range writeWays {
			t.Run(name+"/"+way.name, func(t *testing.T) {
				dir := t.TempDir()
				err := way.write(t, filepath.Join(dir, "out.tar"), c.img, "app:1", &copy.Options{})
				require.ErrorContains(t, err, c.want)
				assert.Empty(t, imagetest.Leftovers(t, dir))
			})
		}
		t.Run(name+"/pipe", func(t *testing.T) {
			_, err := saveToPipe(t, saving(t), named(t, c.img, "app:1"))
			require.ErrorContains(t, err, c.want)
		})
	}
}

// An index with a wrong size for a manifest is not written.
func TestWrongSizeInAnIndex(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	img := imagetest.NewImage(t, "listed", imagetest.Plain(1, 100))
	reg.Push(t, "app:1", img)
	listed := img.Descriptor()
	listed.Platform = &v1.Platform{OS: "linux", Architecture: "amd64"}
	for more := range 2 {
		listed.Size = int64(len(img.Raw) + more)
		raw, err := json.Marshal(v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{listed}})
		require.NoError(t, err)
		raw = slices.Concat([]byte(`{"schemaVersion":2,`), raw[len(`{"schemaVersion":0,`):])
		reg.PutManifest(t, "app", "all", v1.MediaTypeImageIndex, raw)
		options := saving(t)
		options.AllPlatforms = true
		_, err = copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x.tar"), []copying.SaveImage{named(t, reg.Ref(t, "app:all"), "app:1")}, options)
		if more == 0 {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, errdef.ErrDamaged)
		require.ErrorContains(t, err, "the descriptor of "+img.Digest().String())
	}
}

// The type of a layer is not guessed from the name of its first file.
func TestLayersThatLookCompressed(t *testing.T) {
	quiet(t)
	var layers []imagetest.Layer
	for _, name := range []string{"BZh91AY&SY", "\x1f\x8b\x08", "\x28\xb5\x2f\xfd", "\xfd7zXZ", "BZh", "\x50\x2a\x4d\x18"} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: 3, Format: tar.FormatGNU}))
		_, err := w.Write([]byte("abc"))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		layers = append(layers, imagetest.NewLayer(b.Bytes(), b.Bytes(), v1.MediaTypeImageLayer))
	}
	img := imagetest.NewImage(t, "names", layers...)
	for _, way := range writeWays {
		path := filepath.Join(t.TempDir(), "out.tar")
		require.NoError(t, way.write(t, path, img, "app:1", &copy.Options{}))
		assert.Equal(t, img.Digest(), sound(t, path).Descriptor.Digest, way.name)
	}
	path := filepath.Join(t.TempDir(), "docker.tar")
	ref, err := dockerarchive.NewReference(path, imagetest.Tagged(t, "app:1"))
	require.NoError(t, err)
	_, err = copying.Copy(t.Context(), imagetest.Trusting(t), ref, img, nil)
	require.NoError(t, err)
	for n, l := range sound(t, path).Layers {
		assert.Equal(t, layers[n].DiffID(), l.Digest)
	}
}
