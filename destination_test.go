package dockerarchive_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/types"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/internal/fronttest"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// These are things that users have asked for: every image that can be copied at
// all can be written, in every form its blobs come in.

// Every form of image makes the archive that containers/image makes of the form
// that it can read, whether sizes are known, and however it is copied.
func TestImageForms(t *testing.T) {
	for name, forms := range imagetest.Forms(t) {
		t.Run(name, func(t *testing.T) {
			want := imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: forms.Theirs, Name: "form:1"}))
			for _, hide := range []bool{false, true} {
				for _, parallel := range []uint{1, 6} {
					src := forms.Image
					src.HideSizes = hide
					path := filepath.Join(t.TempDir(), "archive.tar")
					ref, err := dockerarchive.NewReference(path, imagetest.Tagged(t, "form:1"))
					require.NoError(t, err)
					require.NoError(t, imagetest.Copy(t, ref, src, &copy.Options{MaxParallelDownloads: parallel, DownloadForeignLayers: true}))
					assert.Equal(t, want, imagetest.Sum(imagetest.ReadFile(t, path)), "sizes hidden: %v, %d at a time", hide, parallel)
				}
			}
		})
	}
}

// The legacy config of the top layer repeats the config's fields about the
// image, null where there is none, and no other fields.
func TestLegacyConfigs(t *testing.T) {
	layers := []imagetest.Layer{imagetest.Gzip(1, 3000), imagetest.Gzip(2, 3000)}
	diffIDs := fmt.Sprintf(`"rootfs":{"type":"layers","diff_ids":["%s","%s"]}`, layers[0].DiffID(), layers[1].DiffID())
	for name, config := range map[string]string{
		"minimal":  `{` + diffIDs + `}`,
		"complete": `{"architecture":"arm64","variant":"v8","os":"linux","os.version":"1","created":"2024-01-02T03:04:05Z","author":"a","docker_version":"24","container":"c","container_config":{"Cmd":["x"]},"config":{"Env":["A=<&>"],"Labels":{"é":" "}},"history":[{"created_by":"x"},{"empty_layer":true}],` + diffIDs + `}`,
	} {
		for _, n := range []int{2, 0} {
			config, of := json.RawMessage(config), layers[:n]
			if n == 0 {
				config = json.RawMessage(strings.Replace(string(config), diffIDs, `"rootfs":{"type":"layers","diff_ids":[]}`, 1))
			}
			image := imagetest.Named{Source: imagetest.NewImageOfConfig(t, config, of...), Name: "legacy:1"}
			assert.Equal(t, imagetest.Sum(imagetest.Theirs(t, image)), imagetest.Sum(fronttest.Ours(t, image)), name)
		}
	}
}

// A layer that cannot be read, or is not the one of the config, makes an error
// that names it, and no archive.
func TestUnreadableImages(t *testing.T) {
	a, b := imagetest.Gzip(1, 3000), imagetest.Gzip(2, 5000)
	cut := imagetest.NewLayer(a.Diff, a.Blob[:len(a.Blob)-20], a.MediaType)
	unsupported := imagetest.NewLayer(a.Diff, append([]byte{0x04, 0x22, 0x4d, 0x18}, a.Blob...), imgspecv1.MediaTypeImageLayer) // lz4
	wrong := b
	wrong.Diff = a.Diff
	for name, c := range map[string]struct {
		layer imagetest.Layer
		want  []string
	}{
		"truncated":   {cut, []string{cut.Digest.String(), "gzip", "unexpected EOF"}},
		"unsupported": {unsupported, []string{unsupported.Digest.String(), a.DiffID().String()}},
		"wrong":       {wrong, []string{b.Digest.String(), b.DiffID().String(), a.DiffID().String()}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ref, err := dockerarchive.NewReference(filepath.Join(dir, "archive.tar"), nil)
			require.NoError(t, err)
			err = imagetest.Copy(t, ref, imagetest.NewImage(t, name, b, c.layer), nil)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			assert.Empty(t, imagetest.Leftovers(t, dir))
		})
	}
}

// The name of an image is kept in full; an image may have several, or none.
func TestNames(t *testing.T) {
	m := imagetest.NewImage(t, "names", imagetest.Gzip(1, 3000))
	for name, c := range map[string]struct {
		name       string
		additional []string
		want       []string
	}{
		"none":            {"", nil, []string{}},
		"one":             {"busybox", nil, []string{"docker.io/library/busybox:latest"}},
		"several":         {"busybox:1", []string{"busybox:2", "localhost:5000/b:3"}, []string{"docker.io/library/busybox:1", "docker.io/library/busybox:2", "localhost:5000/b:3"}},
		"only additional": {"", []string{"busybox:2"}, []string{"docker.io/library/busybox:2"}},
		"repeated":        {"busybox:1", []string{"busybox:1", "docker.io/busybox:1"}, []string{"docker.io/library/busybox:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			image := imagetest.Named{Source: m, Name: c.name, Additional: c.additional}
			got := fronttest.Ours(t, image)
			assert.Equal(t, imagetest.Sum(imagetest.Theirs(t, image)), imagetest.Sum(got))
			assert.Equal(t, [][]string{c.want}, imagetest.RepoTags(t, got))
		})
	}
}

// An image that is committed again under other names is in the archive once, as
// if it had been given them at once. (containers/image fails here: it asks for
// the config that it was told is there already.)
func TestOneImageTwoCommits(t *testing.T) {
	m, other := imagetest.NewImage(t, "twice", imagetest.Gzip(1, 3000)), imagetest.NewImage(t, "other", imagetest.Gzip(1, 3000))
	got := fronttest.Ours(t, imagetest.Named{Source: m, Name: "a:1"}, imagetest.Named{Source: other}, imagetest.Named{Source: m, Name: "b:2"}, imagetest.Named{Source: m}, imagetest.Named{Source: m, Name: "a:1"})
	assert.Equal(t, imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: m, Name: "a:1", Additional: []string{"b:2"}}, imagetest.Named{Source: other})), imagetest.Sum(got))
	assert.Equal(t, [][]string{{"docker.io/library/a:1", "docker.io/library/b:2"}, {}}, imagetest.RepoTags(t, got))
}

// Two images with a layer in common, which they have in different compressions:
// it is stored once.
func TestOneLayerTwoCompressions(t *testing.T) {
	a := imagetest.Gzip(1, 3000)
	one := imagetest.NewImage(t, "1", a, imagetest.Gzip(2, 3000))
	for _, form := range []imagetest.Layer{a.In(imagetest.Zstandard, imgspecv1.MediaTypeImageLayerZstd), a.In(bytes.Clone, imgspecv1.MediaTypeImageLayer)} {
		two := imagetest.NewImage(t, "2", form, imagetest.Gzip(3, 3000))
		same := imagetest.NewImage(t, "2", a, imagetest.Gzip(3, 3000))
		got := fronttest.Ours(t, imagetest.Named{Source: one}, imagetest.Named{Source: two})
		assert.Equal(t, imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: one}, imagetest.Named{Source: same})), imagetest.Sum(got))
		_, names := imagetest.Files(t, got)
		assert.Len(t, imagetest.LayerNames(names), 3)
	}
}

// containers/image reads the written images, by name and by position.
func TestReadByContainersImage(t *testing.T) {
	one, two := imagetest.NewImage(t, "1", imagetest.Gzip(1, 3000), imagetest.Gzip(2, 3000)), imagetest.NewImage(t, "2", imagetest.Zstd(3, 3000))
	path := filepath.Join(t.TempDir(), "archive.tar")
	fronttest.Write(t, path, imagetest.Named{Source: one, Name: "one:1"}, imagetest.Named{Source: two, Name: "two:2"})
	byName := func(name string) types.ImageReference {
		ref, err := archive.NewReference(path, imagetest.Tagged(t, name))
		require.NoError(t, err)
		return ref
	}
	byIndex, err := archive.NewIndexReference(path, 1)
	require.NoError(t, err)
	for ref, m := range map[types.ImageReference]*imagetest.Image{byName("one:1"): one, byName("two:2"): two, byIndex: two} {
		image, err := ref.NewImage(context.Background(), imagetest.Isolated())
		require.NoError(t, err)
		config, err := image.ConfigBlob(context.Background())
		require.NoError(t, err)
		assert.Equal(t, m.Config, config)
		require.Len(t, image.LayerInfos(), len(m.Layers))
		for i, info := range image.LayerInfos() {
			assert.Equal(t, m.Layers[i].DiffID(), info.Digest)
			assert.EqualValues(t, len(m.Layers[i].Diff), info.Size)
		}
		require.NoError(t, image.Close())
	}
}
