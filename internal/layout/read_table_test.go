package layout

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io/fs"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// oldArchive is an archive that has been read: its tables, and the names of other
// entries.
type oldArchive map[string]string

func (a oldArchive) ReadTable(name string) ([]byte, error) {
	data, ok := a[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return []byte(data), nil
}

func (a oldArchive) Tree(digest.Digest) (image.Tree, bool) { return image.Tree{}, false }

func (a oldArchive) Has(name string) bool {
	_, ok := a[name]
	return ok
}

func (oldArchive) Tables() (*image.Index, []image.Element[image.Item]) { return nil, nil }

func (oldArchive) Unlisted() []v1.Descriptor { return nil }

// plainMetadata makes headers with names and sizes only.
func plainMetadata() Metadata {
	file := func(name string, size int64) (*tar.Header, error) { return &tar.Header{Name: name, Size: size}, nil }
	return Metadata{
		File:      file,
		Symlink:   func(name, target string) (*tar.Header, error) { return &tar.Header{Name: name, Linkname: target}, nil },
		Directory: func(name string) (*tar.Header, error) { return &tar.Header{Name: name}, nil },
		Legacy: func(_ []byte, diffIDs []digest.Digest) (LegacyLayers, error) {
			var ids []string
			for _, d := range diffIDs {
				ids = append(ids, "legacy-"+d.Encoded()[:8])
			}
			return LegacyLayers{IDs: ids, Files: func(n int) ([]tarfile.Small, error) {
				return []tarfile.Small{{Header: &tar.Header{Name: ids[n] + "/json"}}}, nil
			}}, nil
		},
	}
}

// namesIn returns the names of entries.
func namesIn(files tarfile.Smalls) (names []string) {
	for f := range files.All() {
		names = append(names, f.Header.Name)
	}
	return names
}

func tailOf(t *testing.T, table Table) map[string]string {
	t.Helper()
	files, err := table.Tail()
	require.NoError(t, err)
	tail := map[string]string{}
	for _, f := range files {
		tail[f.Header.Name] = string(f.Data)
	}
	return tail
}

// testImage returns an image of one layer with a name.
func testImage(t *testing.T, label, name string) *image.Image {
	t.Helper()
	diffID := digest.FromString("layer of " + label)
	config := fmt.Sprintf(`{"os":"linux","architecture":"amd64","label":%q,"rootfs":{"type":"layers","diff_ids":[%q]}}`, label, diffID)
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": v1.MediaTypeImageManifest,
		"config": v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromString(config), Size: int64(len(config))},
		"layers": []v1.Descriptor{{MediaType: v1.MediaTypeImageLayer, Digest: diffID, Size: 10}},
	})
	require.NoError(t, err)
	d, err := image.ParseDocument(raw, "")
	require.NoError(t, err)
	return &image.Image{
		Names: []string{name}, Documents: []*image.Document{d},
		Configs: map[digest.Digest][]byte{digest.FromString(config): []byte(config)},
	}
}

const (
	oldIndex = `{"schemaVersion":2,"manifests":[` +
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + someHex + `","size":7,"annotations":{"io.containerd.image.name":"docker.io/library/old:1","own":"x"},"artifactType":"a/b","platform":{"architecture":"arm64","os":"linux","os.newfield":["y"]},"novel":1},` +
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + someHex + `","size":7,"annotations":{"org.opencontainers.image.ref.name":"V1.0_RC"}}` +
		`],"annotations":{"of":"the index"},"future":{"field":true}}`
	oldManifest     = `[{"Config":"blobs/sha256/` + someHex + `","RepoTags":["docker.io/library/old:1"],"Layers":["blobs/sha256/` + someHex + `"],"Parent":"sha256:p","LayerSources":{"sha256:` + someHex + `":{"mediaType":"m","digest":"sha256:` + someHex + `","size":7,"urls":["https://example.com"]}},"Novel":2}]`
	oldRepositories = `{"docker.io/library/old":{"1":"abc"}}`
	someHex         = "4d38069c7417dcecbdba6e36fcc2f25d65aea4ddbea637b55d7815319394b3f1"
)

// A table that is read and written again keeps its content, unknown fields
// included.
func TestReadTableIsLossless(t *testing.T) {
	old := oldArchive{v1.ImageIndexFile: oldIndex, manifestFile: oldManifest, repositoriesFile: oldRepositories}
	table, err := OCI{Metadata: plainMetadata()}.ReadTable(old)
	require.NoError(t, err)
	assert.Equal(t, map[string]string(old), tailOf(t, table))

	require.NoError(t, table.Add(testImage(t, "new", "example.com/new:2")))
	tail := tailOf(t, table)
	var index map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(tail[v1.ImageIndexFile]), &index))
	assert.JSONEq(t, `{"field":true}`, string(index["future"]))
	var manifests []json.RawMessage
	require.NoError(t, json.Unmarshal(index["manifests"], &manifests))
	require.Len(t, manifests, 3)
	assert.Contains(t, oldIndex, string(manifests[0]))
	assert.Contains(t, oldIndex, string(manifests[1]))
	assert.Contains(t, tail[manifestFile], oldManifest[1:len(oldManifest)-1])

	// An added image is removed again without a trace.
	require.NoError(t, table.Remove(t.Context(), []string{"example.com/new:2"}, false))
	assert.Equal(t, map[string]string(old), tailOf(t, table))
}

// An image that gets one more name keeps its item in manifest.json.
func TestReadTableKeepsFieldsOfWhatChanges(t *testing.T) {
	img := testImage(t, "app", "example.com/app:1")
	config := img.Top().Config.Digest.Encoded() + ".json"
	old := oldArchive{
		manifestFile:     `[{"Config":"` + config + `","RepoTags":["docker.io/library/app:0"],"Layers":["x.tar"],"Parent":"sha256:p","Novel":{"a":1}}]`,
		repositoriesFile: `{}`,
	}
	table, err := Docker{Metadata: plainMetadata()}.ReadTable(old)
	require.NoError(t, err)
	_, files, err := table.Place(img)
	require.NoError(t, err)
	assert.Empty(t, namesIn(files), "the image is there")
	require.NoError(t, table.Add(img))
	assert.Equal(t,
		`[{"Config":"`+config+`","RepoTags":["docker.io/library/app:0","example.com/app:1"],"Layers":["x.tar"],"Parent":"sha256:p","Novel":{"a":1}}]`,
		tailOf(t, table)[manifestFile])

	// With its last name it goes.
	require.NoError(t, table.Remove(t.Context(), []string{"example.com/app:1"}, false))
	require.NoError(t, table.Remove(t.Context(), []string{"docker.io/library/app:0"}, false))
	assert.Equal(t, map[string]string{manifestFile: `[]`, repositoriesFile: `{}`}, tailOf(t, table))
	assert.True(t, table.Empty())
	require.NoError(t, table.Remove(t.Context(), []string{"docker.io/library/app:0"}, false), "nothing has it any more")
}

// Names of a table that was read belong to its images.
func TestReadTableKnowsNames(t *testing.T) {
	img := testImage(t, "other", "docker.io/library/old:1")
	for _, c := range []struct {
		layout Layout
		old    oldArchive
	}{
		{OCI{Metadata: plainMetadata()}, oldArchive{v1.ImageIndexFile: oldIndex}},
		{Docker{Metadata: plainMetadata()}, oldArchive{manifestFile: oldManifest}},
	} {
		table, err := c.layout.ReadTable(c.old)
		require.NoError(t, err)
		var taken *NameError
		_, err = table.Claim(img)
		require.ErrorAs(t, err, &taken)
		assert.Equal(t, "docker.io/library/old:1", taken.Name)
	}
}

// Legacy directories that the archive has are not written again.
func TestReadTableKnowsLegacyDirectories(t *testing.T) {
	img := testImage(t, "app", "example.com/app:1")
	id := "legacy-" + img.Top().Layers[0].Digest.Encoded()[:8]
	table, err := Docker{Metadata: plainMetadata()}.ReadTable(oldArchive{manifestFile: `[]`, id + "/json": ""})
	require.NoError(t, err)
	_, files, err := table.Place(img)
	require.NoError(t, err)
	require.Len(t, namesIn(files), 1, "the config only")
}

func TestReadTableRefusesOtherLayouts(t *testing.T) {
	_, err := OCI{Metadata: plainMetadata()}.ReadTable(oldArchive{manifestFile: oldManifest})
	require.ErrorIs(t, err, ErrOther)
	_, err = Docker{Metadata: plainMetadata()}.ReadTable(oldArchive{manifestFile: oldManifest, v1.ImageIndexFile: oldIndex})
	require.ErrorIs(t, err, ErrOther)
	_, err = Docker{Metadata: plainMetadata()}.ReadTable(oldArchive{manifestFile: `[null]`})
	require.ErrorIs(t, err, errdef.ErrDamaged)
	_, err = OCI{Metadata: plainMetadata()}.ReadTable(oldArchive{v1.ImageIndexFile: `{"manifests":[null]}`})
	require.ErrorIs(t, err, errdef.ErrDamaged)
}

// A file repositories may be null, and gets names all the same.
func TestReadNullRepositories(t *testing.T) {
	table, err := OCI{Metadata: plainMetadata()}.ReadTable(oldArchive{v1.ImageIndexFile: oldIndex, manifestFile: oldManifest, repositoriesFile: "null"})
	require.NoError(t, err)
	config := []byte(`{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":["sha256:` + otherHex + `"]}}`)
	layer := v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: digest.Digest("sha256:" + otherHex), Size: 1}
	document := &image.Document{
		Descriptor: v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromString("manifest"), Size: 1},
		Config:     &v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers:     []v1.Descriptor{layer},
	}
	require.NoError(t, table.Add(&image.Image{Names: []string{"example.com/new:1"}, Documents: []*image.Document{document}, Configs: map[digest.Digest][]byte{document.Config.Digest: config}}))
	assert.JSONEq(t, `{"example.com/new":{"1":"legacy-`+otherHex[:8]+`"}}`, tailOf(t, table)[repositoriesFile])
}
