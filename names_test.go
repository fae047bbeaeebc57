package dockerarchive_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/types"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/fronttest"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// casePath returns the path of an archive from a real report.
func casePath(t *testing.T, name string) string {
	t.Helper()
	return imagetest.Testdata(t, "cases", name)
}

// Names of all kinds are listed, and found, as they stand.
func TestNamesAsTheyAre(t *testing.T) {
	for file, name := range map[string]string{
		"digest-name.tar":   "docker.io/library/busybox@sha256:45d2602b344571424277f0ae5515e160520a245712357743d45b1e1e3095c07e",
		"free-ref-name.tar": "V1.0_RC",
		"tag-only.tar":      "1.0",
	} {
		r, err := dockerarchive.NewReader(nil, casePath(t, file))
		require.NoError(t, err)
		defer r.Close()
		images, err := r.Images(t.Context())
		require.NoError(t, err)
		require.Len(t, images, 1)
		assert.Equal(t, []string{name}, images[0].Names)
		list, err := r.List()
		require.NoError(t, err)
		assert.Equal(t, casePath(t, file)+":"+name, list[0][0].StringWithinTransport())

		ref, err := dockerarchive.ParseReference(casePath(t, file) + ":" + name)
		require.NoError(t, err)
		src, err := ref.NewImageSource(t.Context(), nil)
		require.NoError(t, err, file)
		require.NoError(t, src.Close())

		ref, err = dockerarchive.ParseReference(casePath(t, file) + ":other")
		require.NoError(t, err)
		_, err = ref.NewImageSource(t.Context(), nil)
		var missing *errdef.NoImageError
		require.ErrorAs(t, err, &missing)
		assert.Contains(t, missing.Available[0], name)
	}
}

// A name that is none for Docker survives being copied from archive to archive, and
// is nothing that Docker would take for another.
func TestFreeNamesAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.tar")
	src, err := dockerarchive.ParseReference(casePath(t, "free-ref-name.tar") + ":V1.0_RC")
	require.NoError(t, err)
	dest, err := dockerarchive.ImageTransport.ParseReference(path + ":V1.0_RC")
	require.NoError(t, err)
	require.NoError(t, imagetest.Copy(t, dest, src, nil))
	r, err := dockerarchive.NewReader(nil, path)
	require.NoError(t, err)
	defer r.Close()
	images, err := r.Images(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"V1.0_RC"}, images[0].Names)
	files, _ := imagetest.Files(t, imagetest.ReadFile(t, path))
	assert.NotContains(t, string(files["index.json"]), "containerd")
	assert.Contains(t, string(files["manifest.json"]), `"RepoTags":[]`)
}

// Where several images have one name for several platforms, the platform chooses.
func TestPlatformChoosesAmongNames(t *testing.T) {
	for _, name := range []string{"", ":multiarch", ":multiarch:latest"} {
		for arch, want := range map[string]string{"amd64": "291aaf079eab", "arm64": "6806ab9992a4"} {
			ref, err := dockerarchive.ParseReference(casePath(t, "same-name-per-arch.tar") + name)
			require.NoError(t, err)
			sys := &types.SystemContext{OSChoice: "linux", ArchitectureChoice: arch}
			src, err := ref.NewImageSource(t.Context(), sys)
			require.NoError(t, err)
			m, _, err := src.GetManifest(t.Context(), nil)
			require.NoError(t, err)
			assert.Contains(t, imagetest.Sum(m), want)
			require.NoError(t, src.Close())
		}
		ref, err := dockerarchive.ParseReference(casePath(t, "same-name-per-arch.tar") + name)
		require.NoError(t, err)
		_, err = ref.NewImageSource(t.Context(), &types.SystemContext{OSChoice: "linux", ArchitectureChoice: "s390x"})
		var missing *errdef.NoPlatformError
		require.ErrorAs(t, err, &missing)
		assert.Equal(t, []string{"linux/amd64", "linux/arm64/v8"}, missing.Available)
	}
}

// Docker 25.0.0 wrote manifests with their layers in another order than the config
// and manifest.json: those two are right.
func TestLayersInTheOrderOfTheConfig(t *testing.T) {
	ref, err := dockerarchive.ParseReference(casePath(t, "moby25.0.0-two-versions.tar"))
	require.NoError(t, err)
	dir := t.TempDir()
	dest, err := directory.NewReference(dir)
	require.NoError(t, err)
	require.NoError(t, imagetest.Copy(t, dest, ref, &copy.Options{}))
	img, err := ref.NewImage(t.Context(), nil)
	require.NoError(t, err)
	defer img.Close()
	config, err := img.OCIConfig(t.Context())
	require.NoError(t, err)
	require.Len(t, img.LayerInfos(), len(config.RootFS.DiffIDs))
	for i, layer := range img.LayerInfos() {
		assert.Equal(t, config.RootFS.DiffIDs[i], layer.Digest)
	}
}

// One image in two forms has one place in manifest.json, which contradicts neither.
func TestOneImageInTwoForms(t *testing.T) {
	var b bytes.Buffer
	out := logrus.StandardLogger().Out
	t.Cleanup(func() { logrus.SetOutput(out) })
	logrus.SetOutput(&b)
	packed := imagetest.NewImage(t, "forms", imagetest.Gzip(1, 3000), imagetest.Gzip(2, 3000))
	plain := imagetest.NewImage(t, "forms", imagetest.NewLayer(packed.Layers[0].Diff, packed.Layers[0].Diff, imgspecv1.MediaTypeImageLayer), packed.Layers[1])
	require.Equal(t, packed.ConfigDigest(), plain.ConfigDigest())
	w, path := fronttest.New(t, &dockerarchive.WriterOptions{Transport: dockerarchive.ImageTransport})
	for name, img := range map[string]*imagetest.Image{"packed:1": packed, "plain:1": plain} {
		require.NoError(t, imagetest.Copy(t, fronttest.Reference(t, w, name), img, imagetest.Sequentially()))
	}
	require.NoError(t, w.Close())
	for name, img := range map[string]*imagetest.Image{"packed:1": packed, "plain:1": plain} {
		ref, err := dockerarchive.NewReference(path, imagetest.Tagged(t, name))
		require.NoError(t, err)
		src, err := ref.NewImageSource(t.Context(), nil)
		require.NoError(t, err)
		m, _, err := src.GetManifest(t.Context(), nil)
		require.NoError(t, err)
		assert.Equal(t, string(img.Raw), string(m), name)
		assert.NoError(t, src.Close())
	}
	assert.NotContains(t, b.String(), "contradicts")
}
