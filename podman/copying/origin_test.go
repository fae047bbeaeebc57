package copying_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// dockerItem is the entry of an image in manifest.json, with the fields that docker
// save adds.
type dockerItem struct {
	Config       string
	RepoTags     []string
	Layers       []string
	Parent       digest.Digest                          `json:",omitempty"`
	LayerSources map[digest.Digest]imgspecv1.Descriptor `json:",omitempty"`
}

func dockerItems(t testing.TB, archive []byte) []dockerItem {
	t.Helper()
	contents, _ := imagetest.Files(t, archive)
	var items []dockerItem
	require.NoError(t, json.Unmarshal(contents["manifest.json"], &items))
	return items
}

// withItems returns an archive with another manifest.json.
func withItems(t testing.TB, archive []byte, items []dockerItem) []byte {
	t.Helper()
	changed, err := json.Marshal(items)
	require.NoError(t, err)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		if h.Name == "manifest.json" {
			data, h.Size = changed, int64(len(changed))
		}
		require.NoError(t, w.WriteHeader(h))
		_, err = w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// built returns an image whose config has these steps as its history.
func built(t testing.TB, layers []imagetest.Layer, steps ...string) *imagetest.Image {
	t.Helper()
	history := []imgspecv1.History{}
	for _, s := range steps {
		history = append(history, imgspecv1.History{CreatedBy: s})
	}
	config := imgspecv1.Image{Platform: imgspecv1.Platform{OS: "linux", Architecture: "amd64"}, History: history}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID())
	}
	config.RootFS.Type = "layers"
	return imagetest.NewImageOfConfig(t, config, layers...)
}

// Save keeps the parent of an image and the places of its layers as docker save wrote
// them, from either layout to either, as long as the parent comes along.
func TestSaveKeepsOrigin(t *testing.T) {
	layers := []imagetest.Layer{imagetest.Gzip(1, 100), imagetest.Gzip(2, 100)}
	base, child := built(t, layers[:1], "FROM scratch"), built(t, layers, "FROM scratch", "RUN true")
	source := imgspecv1.Descriptor{MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Digest: digest.FromString("z"), Size: 9, URLs: []string{"https://example.com/z"}}
	for _, from := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
		options := saving(t)
		options.Transport = from
		archive, _ := save(t, options, named(t, base, "example.com/base:1"), named(t, child, "example.com/child:1"))
		items := dockerItems(t, archive)
		assert.Empty(t, items[1].Parent, "nobody knows it")
		items[1].Parent = base.ConfigDigest()
		items[1].LayerSources = map[digest.Digest]imgspecv1.Descriptor{layers[0].DiffID(): source}
		path := imagetest.WriteFile(t, withItems(t, archive, items))
		ref := func(name string) types.ImageReference {
			ref, err := dockerarchive.Transport.ParseReference(path + ":" + name)
			require.NoError(t, err)
			return ref
		}
		for _, to := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
			options.Transport = to
			again, _ := save(t, options, named(t, ref("example.com/child:1"), "example.com/child:1"), named(t, ref("example.com/base:1"), "example.com/base:1"))
			got := dockerItems(t, again)
			assert.Equal(t, base.ConfigDigest(), got[0].Parent, "%s to %s", from.Name(), to.Name())
			assert.Equal(t, items[1].LayerSources, got[0].LayerSources, "%s to %s", from.Name(), to.Name())
			assert.Empty(t, got[1].Parent)
			assert.Empty(t, got[1].LayerSources)

			dest := filepath.Join(t.TempDir(), "copied.tar")
			for _, name := range []string{"example.com/base:1", "example.com/child:1"} {
				destRef, err := to.ParseReference(dest + ":" + name)
				require.NoError(t, err)
				_, err = copying.Copy(t.Context(), imagetest.Trusting(t), destRef, ref(name), nil)
				require.NoError(t, err)
			}
			copied, err := os.ReadFile(dest)
			require.NoError(t, err)
			got = dockerItems(t, copied)
			assert.Equal(t, base.ConfigDigest(), got[1].Parent, "%s copied to %s", from.Name(), to.Name())
			assert.Equal(t, items[1].LayerSources, got[1].LayerSources, "%s copied to %s", from.Name(), to.Name())
			assert.Empty(t, got[0].Parent)

			alone, _ := save(t, options, named(t, ref("example.com/child:1"), "example.com/child:1"))
			assert.Empty(t, dockerItems(t, alone)[0].Parent, "docker load refuses a parent that is not there")
		}
	}
}
