package dockerarchive

import (
	"bytes"
	"compress/bzip2"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What users have asked of archives: every image that can be copied at all can be
// written, in every form its blobs come in.

// bzip2Layer is the one compression that nothing in Go's reach can write: a tar
// of one empty file, in two streams one behind the other.
func bzip2Layer(t testing.TB) layer {
	t.Helper()
	blob, err := base64.StdEncoding.DecodeString(bzip2Blob)
	require.NoError(t, err)
	diff, err := io.ReadAll(bzip2.NewReader(bytes.NewReader(blob)))
	require.NoError(t, err)
	return newLayer(diff, blob, imgspecv1.MediaTypeImageLayer)
}

const bzip2Blob = "" +
	"QlpoOTFBWSZTWfJGdVcAACBbiMiAQABlgAAIYgJeIEAAAAggAFRQAGjTTNQSmonqPUPSGmmmHyqg" +
	"Rdamw7ggUUGohiaMTU5iX0RjN/fAAXw74u5IpwoSHkjOquBCWmg5MUFZJlNZIb4plQAAAcQAwAAI" +
	"AAAIIAAgqm1BmLqDxdyRThQkCG+KZUA="

// differently returns a layer with the same content in another form.
func differently(l layer, compress func([]byte) []byte, mediaType string) layer {
	return newLayer(l.diff, compress(l.diff), mediaType)
}

func sha512Layer(l layer) layer {
	l.digest = digest.SHA512.FromBytes(l.blob)
	return l
}

// imageForms are images and the same images in the form in which containers/image
// can write them.
func imageForms(t testing.TB) map[string][2]*memoryImage {
	a, b, big := gzipLayer(1, 3000), gzipLayer(2, 5000), gzipLayer(3, 200_000)
	pieces := func(data []byte) []byte { return append(gzipped(data[:700]), gzipped(data[700:])...) }
	skippable := func(data []byte) []byte {
		return append([]byte{0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'x', 'y', 'z'}, zstdCompressed(data)...)
	}
	frames := func(data []byte) []byte { return append(zstdCompressed(data[:700]), zstdCompressed(data[700:])...) }
	none := func(data []byte) []byte { return data }
	plain, oneZstd := imgspecv1.MediaTypeImageLayer, imgspecv1.MediaTypeImageLayerZstd
	oneGzip := imgspecv1.MediaTypeImageLayerGzip
	foreign := a
	foreign.urls = []string{"http://localhost:1/unreachable"}
	foreign.mediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
	bz := bzip2Layer(t)
	image := func(layers ...layer) *memoryImage { return newImage(t, "form", layers...) }
	return map[string][2]*memoryImage{
		"no layers":                     {image(), image()},
		"one layer":                     {image(a), image(a)},
		"many layers":                   {image(a, b, big), image(a, b, big)},
		"the same layer twice":          {image(a, b, a), image(a, b, a)},
		"the same layer next to itself": {image(a, a), image(a, a)},
		"the same layer in two forms":   {image(a, differently(a, none, plain)), image(a, a)},
		"empty layer":                   {image(newLayer(nil, nil, plain)), image(newLayer(nil, gzipped(nil), oneGzip))},
		"plain":                         {image(differently(big, none, plain)), image(big)},
		"several gzip members":          {image(differently(big, pieces, oneGzip)), image(big)},
		"zstd":                          {image(differently(big, zstdCompressed, oneZstd)), image(big)},
		"zstd, skippable frame first":   {image(differently(big, skippable, oneZstd)), image(big)},
		"several zstd frames":           {image(differently(big, frames, oneZstd)), image(big)},
		"xz":                            {image(differently(a, xzCompressed, plain)), image(a)},
		"bzip2":                         {image(bz), image(differently(bz, gzipped, oneGzip))},
		"everything mixed":              {image(a, differently(b, xzCompressed, plain), bz, differently(big, zstdCompressed, oneZstd)), image(a, b, differently(bz, gzipped, oneGzip), big)},
		"sha512":                        {image(sha512Layer(a), sha512Layer(differently(b, none, plain))), image(a, b)},
		"wrong media type":              {image(differently(b, zstdCompressed, oneGzip)), image(b)},
		"foreign layers":                {image(foreign), image(a)},
	}
}

// Every form of image makes the archive that containers/image makes of the form
// that it can read, whether sizes are known, and however it is copied.
func TestImageForms(t *testing.T) {
	for name, forms := range imageForms(t) {
		t.Run(name, func(t *testing.T) {
			want := sum(theirs(t, saved{source: forms[1], name: "form:1"}))
			for _, hide := range []bool{false, true} {
				for _, parallel := range []uint{1, 6} {
					src := forms[0]
					src.hideSizes = hide
					path := filepath.Join(t.TempDir(), "archive.tar")
					ref, err := NewReference(path, tagged(t, "form:1"))
					require.NoError(t, err)
					require.NoError(t, copyImage(t, ref, src, &copy.Options{MaxParallelDownloads: parallel, DownloadForeignLayers: true}))
					assert.Equal(t, want, sum(readFile(t, path)), "sizes hidden: %v, %d at a time", hide, parallel)

					path = filepath.Join(t.TempDir(), "archive.tar")
					ref, err = NewReference(path, tagged(t, "form:1"))
					require.NoError(t, err)
					_, err = Copy(context.Background(), trusting(t), ref, src, &copy.Options{MaxParallelDownloads: parallel, DownloadForeignLayers: true})
					require.NoError(t, err)
					assert.Equal(t, want, sum(readFile(t, path)), "planned, sizes hidden: %v, %d at a time", hide, parallel)
				}
			}
		})
	}
}

// What the config says of the image is repeated in the legacy config of its top
// layer, null where it says nothing, and what it says besides is not.
func TestLegacyConfigs(t *testing.T) {
	layers := []layer{gzipLayer(1, 3000), gzipLayer(2, 3000)}
	diffIDs := fmt.Sprintf(`"rootfs":{"type":"layers","diff_ids":["%s","%s"]}`, digest.FromBytes(layers[0].diff), digest.FromBytes(layers[1].diff))
	for name, config := range map[string]string{
		"minimal":  `{` + diffIDs + `}`,
		"complete": `{"architecture":"arm64","variant":"v8","os":"linux","os.version":"1","created":"2024-01-02T03:04:05Z","author":"a","docker_version":"24","container":"c","container_config":{"Cmd":["x"]},"config":{"Env":["A=<&>"],"Labels":{"é":" "}},"history":[{"created_by":"x"},{"empty_layer":true}],` + diffIDs + `}`,
	} {
		for _, n := range []int{2, 0} {
			config, of := json.RawMessage(config), layers[:n]
			if n == 0 {
				config = json.RawMessage(strings.Replace(string(config), diffIDs, `"rootfs":{"type":"layers","diff_ids":[]}`, 1))
			}
			image := saved{source: newImageOfConfig(t, config, of...), name: "legacy:1"}
			assert.Equal(t, sum(theirs(t, image)), sum(ours(t, image)), name)
		}
	}
}

// What is no layer that can be read, or not the layer of the config, makes no
// archive, and an error that names it.
func TestUnreadableImages(t *testing.T) {
	a, b := gzipLayer(1, 3000), gzipLayer(2, 5000)
	cut := newLayer(a.diff, a.blob[:len(a.blob)-20], a.mediaType)
	unsupported := newLayer(a.diff, append([]byte{0x04, 0x22, 0x4d, 0x18}, a.blob...), imgspecv1.MediaTypeImageLayer) // lz4
	wrong := b
	wrong.diff = a.diff
	for name, c := range map[string]struct {
		layer layer
		want  []string
	}{
		"truncated":   {cut, []string{cut.digest.String(), "gzip", "unexpected EOF"}},
		"unsupported": {unsupported, []string{unsupported.digest.String(), digest.FromBytes(a.diff).String()}},
		"wrong":       {wrong, []string{b.digest.String(), digest.FromBytes(b.diff).String(), digest.FromBytes(a.diff).String()}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ref, err := NewReference(filepath.Join(dir, "archive.tar"), nil)
			require.NoError(t, err)
			err = copyImage(t, ref, newImage(t, name, b, c.layer), nil)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			assert.Empty(t, leftovers(t, dir))
		})
	}
}

// The name of an image is kept in full; an image may have several, or none.
func TestNames(t *testing.T) {
	m := newImage(t, "names", gzipLayer(1, 3000))
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
			image := saved{source: m, name: c.name, additional: c.additional}
			got := ours(t, image)
			assert.Equal(t, sum(theirs(t, image)), sum(got))
			assert.Equal(t, [][]string{c.want}, repoTags(t, got))
		})
	}
}

// repoTags returns the names of each image of an archive.
func repoTags(t testing.TB, archive []byte) [][]string {
	t.Helper()
	contents, _ := files(t, archive)
	var items []manifestItem
	require.NoError(t, json.Unmarshal(contents[manifestFileName], &items))
	var tags [][]string
	for _, item := range items {
		tags = append(tags, item.RepoTags)
	}
	return tags
}

// An image that is committed again under other names is in the archive once, as
// if it had been given them at once. (containers/image fails here: it asks for
// the config that it was told is there already.)
func TestOneImageTwoCommits(t *testing.T) {
	m, other := newImage(t, "twice", gzipLayer(1, 3000)), newImage(t, "other", gzipLayer(1, 3000))
	got := ours(t, saved{source: m, name: "a:1"}, saved{source: other}, saved{source: m, name: "b:2"}, saved{source: m}, saved{source: m, name: "a:1"})
	assert.Equal(t, sum(theirs(t, saved{source: m, name: "a:1", additional: []string{"b:2"}}, saved{source: other})), sum(got))
	assert.Equal(t, [][]string{{"docker.io/library/a:1", "docker.io/library/b:2"}, {}}, repoTags(t, got))
}

// Two images with a layer in common, which they have in different compressions:
// it is stored once.
func TestOneLayerTwoCompressions(t *testing.T) {
	a := gzipLayer(1, 3000)
	one := newImage(t, "1", a, gzipLayer(2, 3000))
	for _, form := range []layer{differently(a, zstdCompressed, imgspecv1.MediaTypeImageLayerZstd), differently(a, bytes.Clone, imgspecv1.MediaTypeImageLayer)} {
		two := newImage(t, "2", form, gzipLayer(3, 3000))
		same := newImage(t, "2", a, gzipLayer(3, 3000))
		got := ours(t, saved{source: one}, saved{source: two})
		assert.Equal(t, sum(theirs(t, saved{source: one}, saved{source: same})), sum(got))
		_, names := files(t, got)
		assert.Len(t, layerNames(names), 3)
	}
}

// What is written is read by containers/image, under its name and by its place.
func TestReadByContainersImage(t *testing.T) {
	one, two := newImage(t, "1", gzipLayer(1, 3000), gzipLayer(2, 3000)), newImage(t, "2", zstdLayer(3, 3000))
	path := filepath.Join(t.TempDir(), "archive.tar")
	writeArchive(t, path, saved{source: one, name: "one:1"}, saved{source: two, name: "two:2"})
	byName := func(name string) types.ImageReference {
		ref, err := archive.NewReference(path, tagged(t, name))
		require.NoError(t, err)
		return ref
	}
	byIndex, err := archive.NewIndexReference(path, 1)
	require.NoError(t, err)
	for ref, m := range map[types.ImageReference]*memoryImage{byName("one:1"): one, byName("two:2"): two, byIndex: two} {
		image, err := ref.NewImage(context.Background(), isolated())
		require.NoError(t, err)
		config, err := image.ConfigBlob(context.Background())
		require.NoError(t, err)
		assert.Equal(t, m.config, config)
		require.Len(t, image.LayerInfos(), len(m.layers))
		for i, info := range image.LayerInfos() {
			assert.Equal(t, digest.FromBytes(m.layers[i].diff), info.Digest)
			assert.EqualValues(t, len(m.layers[i].diff), info.Size)
		}
		require.NoError(t, image.Close())
	}
}

func writeArchive(t testing.TB, path string, images ...saved) {
	t.Helper()
	w, err := NewWriter(nil, path)
	require.NoError(t, err)
	for _, image := range images {
		var name reference.NamedTagged
		if image.name != "" {
			name = tagged(t, image.name)
		}
		ref, err := w.NewReference(name)
		require.NoError(t, err)
		require.NoError(t, copyImage(t, ref, image.source, image.options(t)))
	}
	require.NoError(t, w.Close())
}
