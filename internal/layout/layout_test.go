package layout_test

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// metadata makes headers of names, and of every layer a legacy directory that is
// named for the image's layers up to it.
var metadata = layout.Metadata{
	File: func(name string, size int64) (*tar.Header, error) { return &tar.Header{Name: name, Size: size}, nil },
	Symlink: func(name, target string) (*tar.Header, error) {
		return &tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}, nil
	},
	Directory: func(name string) (*tar.Header, error) {
		return &tar.Header{Name: name + "/", Typeflag: tar.TypeDir}, nil
	},
	Legacy: func(config []byte, diffIDs []digest.Digest) (layout.LegacyLayers, error) {
		var ids []string
		id := "legacy"
		for _, d := range diffIDs {
			id += "-" + d.Encoded()[:4]
			ids = append(ids, id)
		}
		return layout.LegacyLayers{IDs: ids, Files: func(n int) ([]tarfile.Small, error) { return filesOf(ids[n])() }}, nil
	},
}

// both are the layouts, by their names.
var both = map[string]layout.Layout{"docker": layout.Docker{Metadata: metadata}, "oci": layout.OCI{Metadata: metadata}}

// content makes images for tables of contents.
type content struct {
	documents []*image.Document
	configs   map[digest.Digest][]byte
}

func newContent() *content { return &content{configs: map[digest.Digest][]byte{}} }

func (c *content) parse(t testing.TB, v any) *image.Document {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	d, err := image.ParseDocument(raw, "")
	require.NoError(t, err)
	c.documents = append(c.documents, d)
	return d
}

// manifest adds a manifest of layers, whose diff IDs are the digests of their
// names, and blobs those of their names in upper case.
func (c *content) manifest(t testing.TB, architecture string, layers ...string) *image.Document {
	t.Helper()
	diffIDs := []digest.Digest{}
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Layers: []v1.Descriptor{}}
	m.SchemaVersion = 2
	for _, l := range layers {
		diffIDs = append(diffIDs, digest.FromString(l))
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: digest.FromString(strings.ToUpper(l)), Size: 7})
	}
	config, err := json.Marshal(map[string]any{"os": "linux", "architecture": architecture, "rootfs": map[string]any{"diff_ids": diffIDs}})
	require.NoError(t, err)
	m.Config = v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}
	c.configs[m.Config.Digest] = config
	return c.parse(t, m)
}

func (c *content) index(t testing.TB, listed ...digest.Digest) *image.Document {
	t.Helper()
	x := v1.Index{MediaType: v1.MediaTypeImageIndex}
	x.SchemaVersion = 2
	for _, d := range listed {
		x.Manifests = append(x.Manifests, v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: d, Size: 1})
	}
	return c.parse(t, x)
}

func (c *content) image(names ...string) *image.Image {
	return &image.Image{Names: names, Documents: c.documents, Configs: c.configs}
}

// single returns an image of one manifest.
func single(t testing.TB, names []string, layers ...string) *image.Image {
	t.Helper()
	c := newContent()
	c.manifest(t, "amd64", layers...)
	return c.image(names...)
}

// item is an element of manifest.json.
type item struct {
	Config       string
	RepoTags     []string
	Layers       []string
	LayerSources map[digest.Digest]v1.Descriptor
}

// tail returns the documents that a table ends with, by name.
func tail(t testing.TB, table layout.Table) (items []item, repositories map[string]map[string]string, index v1.Index, names []string) {
	t.Helper()
	files, err := table.Tail()
	require.NoError(t, err)
	for _, f := range files {
		names = append(names, f.Header.Name)
		assert.EqualValues(t, len(f.Data), f.Header.Size)
		v := map[string]any{"manifest.json": &items, "repositories": &repositories, "index.json": &index}[f.Header.Name]
		require.NoError(t, json.Unmarshal(f.Data, v), f.Header.Name)
	}
	return items, repositories, index, names
}

// add places and adds images.
func add(t testing.TB, table layout.Table, images ...*image.Image) {
	t.Helper()
	for _, img := range images {
		_, _, err := table.Place(img)
		require.NoError(t, err)
		require.NoError(t, table.Add(img))
	}
}

// filesOf returns the entries of a legacy directory.
func filesOf(id string) func() ([]tarfile.Small, error) {
	return func() ([]tarfile.Small, error) {
		return []tarfile.Small{{Header: &tar.Header{Name: id + "/json"}}}, nil
	}
}

func namesOf(files tarfile.Smalls) (names []string) {
	for f := range files.All() {
		names = append(names, f.Header.Name)
	}
	return names
}

// The names of an image are in every table that can hold them.
func TestNames(t *testing.T) {
	const pinned = "example.com/app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	const tagged, other = "example.com/app:1", "docker.io/library/other:2"
	const mixed = "example.com/app:3@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	for name, l := range both {
		table := l.NewTable()
		assert.True(t, table.Empty())
		img := single(t, []string{tagged, other, pinned, mixed, tagged}, "a", "b")
		add(t, table, img, img)
		assert.False(t, table.Empty())
		items, repositories, index, names := tail(t, table)
		require.Len(t, items, 1, name)
		assert.Equal(t, []string{tagged, other, "example.com/app:3"}, items[0].RepoTags, name)
		top := "legacy-" + digest.FromString("a").Encoded()[:4] + "-" + digest.FromString("b").Encoded()[:4]
		assert.Equal(t, map[string]map[string]string{"example.com/app": {"1": top, "3": top}, "docker.io/library/other": {"2": top}}, repositories, name)
		if name == "docker" {
			assert.Equal(t, []string{"manifest.json", "repositories"}, names)
			continue
		}
		assert.Equal(t, []string{"index.json", "manifest.json", "repositories"}, names)
		var annotations []map[string]string
		for _, d := range index.Manifests {
			assert.Equal(t, img.Digest(), d.Digest)
			annotations = append(annotations, d.Annotations)
		}
		full, short := "io.containerd.image.name", v1.AnnotationRefName
		assert.Equal(t, []map[string]string{{full: tagged, short: "1"}, {full: other, short: "2"}, {full: pinned}, {full: mixed, short: "3"}}, annotations)
	}
}

// An image without a name is there once, and an archive without names has no
// repositories file, except in layouts that always have one.
func TestUnnamed(t *testing.T) {
	for name, l := range both {
		table := l.NewTable()
		img := single(t, nil, "a")
		add(t, table, img, img)
		items, repositories, index, names := tail(t, table)
		assert.Equal(t, []string{}, items[0].RepoTags)
		assert.Empty(t, repositories)
		if name == "docker" {
			assert.Equal(t, []string{"manifest.json", "repositories"}, names)
			continue
		}
		assert.Equal(t, []string{"index.json", "manifest.json"}, names)
		require.Len(t, index.Manifests, 1)
		assert.Nil(t, index.Manifests[0].Annotations)
	}
}

// One name for two images is refused, and then claims none of the others.
func TestOneNameForTwoImages(t *testing.T) {
	for name, l := range both {
		table := l.NewTable()
		one, two := single(t, []string{"a/b:1", "a/b:2"}, "a"), single(t, []string{"a/b:3", "a/b:2"}, "b")
		release, err := table.Claim(one)
		require.NoError(t, err)
		_, err = table.Claim(one)
		require.NoError(t, err, "its own")
		_, claimed := table.Claim(two)
		for _, err := range []error{claimed, table.Add(two)} {
			var taken *layout.NameError
			require.ErrorAs(t, err, &taken, name)
			assert.Equal(t, "a/b:2", taken.Name)
			assert.NotEqual(t, taken.Have, taken.Want)
			require.ErrorContains(t, taken, taken.Have)
			require.ErrorContains(t, taken, taken.Want)
		}
		_, err = table.Claim(single(t, []string{"a/b:3"}, "c"))
		require.NoError(t, err)
		release()
		_, err = table.Claim(single(t, []string{"a/b:1", "a/b:2"}, "d"))
		require.NoError(t, err)
		assert.True(t, table.Empty(), "nothing has been added")
	}
}

// The same config under another manifest is the same image for the docker layout,
// which knows no manifests, and another one for the other.
func TestOneConfigTwoManifests(t *testing.T) {
	c := newContent()
	m := c.manifest(t, "amd64", "a")
	again := newContent()
	again.configs = c.configs
	again.parse(t, map[string]any{
		"schemaVersion": 2, "mediaType": image.DockerManifest, "config": v1.Descriptor{MediaType: image.DockerConfig, Digest: m.Config.Digest, Size: m.Config.Size},
		"layers": []v1.Descriptor{{MediaType: image.DockerLayer, Digest: digest.FromString("a"), Size: 1}},
	})
	table := both["docker"].NewTable()
	add(t, table, c.image("a/b:1"), again.image("a/b:1", "a/b:2"))
	items, _, _, _ := tail(t, table)
	require.Len(t, items, 1)
	assert.Equal(t, []string{"a/b:1", "a/b:2"}, items[0].RepoTags)
	table = both["oci"].NewTable()
	add(t, table, c.image("a/b:1"))
	var taken *layout.NameError
	require.ErrorAs(t, table.Add(again.image("a/b:1")), &taken)
}

// The entries of an image, and those that only it adds to the images before it.
func TestPlace(t *testing.T) {
	one, two := single(t, nil, "a", "b", "a"), single(t, nil, "a", "c")
	id := func(layers ...string) string {
		id := "legacy"
		for _, l := range layers {
			id += "-" + digest.FromString(l).Encoded()[:4]
		}
		return id + "/json"
	}
	table := both["docker"].NewTable()
	blobs, files, err := table.Place(one)
	require.NoError(t, err)
	assert.Equal(t, []layout.Blob{
		{Received: digest.FromString("A"), Stored: digest.FromString("a"), Size: -1},
		{Received: digest.FromString("B"), Stored: digest.FromString("b"), Size: -1},
		{Received: digest.FromString("A"), Stored: digest.FromString("a"), Size: -1},
	}, blobs)
	assert.Equal(t, []string{one.Top().Config.Digest.Encoded() + ".json", id("a"), id("a", "b"), id("a", "b", "a")}, namesOf(files))
	require.NoError(t, table.Add(one))
	_, files, err = table.Place(two)
	require.NoError(t, err)
	assert.Equal(t, []string{two.Top().Config.Digest.Encoded() + ".json", id("a", "c")}, namesOf(files), "a is there")
	blobs, files, err = table.Place(one)
	require.NoError(t, err)
	assert.Len(t, blobs, 3)
	assert.Empty(t, namesOf(files))

	table = both["oci"].NewTable()
	head, err := table.Head()
	require.NoError(t, err)
	assert.Equal(t, []string{"oci-layout", "blobs/", "blobs/sha256/"}, namesOf(tarfile.List(head...)))
	blobs, files, err = table.Place(two)
	require.NoError(t, err)
	assert.Empty(t, namesOf(files))
	want := []digest.Digest{digest.FromString("A"), digest.FromString("C"), two.Top().Config.Digest, two.Digest()}
	require.Len(t, blobs, len(want))
	for i, b := range blobs {
		assert.Equal(t, want[i], b.Stored)
		assert.Equal(t, want[i], b.Received)
		assert.Positive(t, b.Size)
	}
}

// Layers that have URLs are in manifest.json as Docker writes them.
func TestLayerSources(t *testing.T) {
	c := newContent()
	m := c.manifest(t, "amd64", "a", "b")
	m.Layers[1].URLs = []string{"https://example.com/b"}
	table := both["oci"].NewTable()
	add(t, table, c.image())
	items, _, _, _ := tail(t, table)
	l := m.Layers[1]
	assert.Equal(t, map[digest.Digest]v1.Descriptor{
		digest.FromString("b"): {MediaType: l.MediaType, Digest: l.Digest, Size: l.Size, URLs: l.URLs},
	}, items[0].LayerSources)
	files, err := table.Tail()
	require.NoError(t, err)
	m.Layers[1].URLs = nil
	table = both["oci"].NewTable()
	add(t, table, c.image())
	without, err := table.Tail()
	require.NoError(t, err)
	assert.Contains(t, string(files[1].Data), "LayerSources")
	assert.NotContains(t, string(without[1].Data), "LayerSources")
}

// Docker is offered one image of an index: the preferred one if it is there, else
// the first that Docker can run, within indexes too.
func TestDockerIsOfferedOneImage(t *testing.T) {
	preferring := func(d digest.Digest) layout.Layout {
		return layout.OCI{Metadata: metadata, Prefer: func(*image.Document) (digest.Digest, bool) { return d, d != "" }}
	}
	c := newContent()
	amd := c.manifest(t, "amd64", "a")
	arm := c.manifest(t, "arm64", "b")
	inner := c.index(t, digest.FromString("missing"), arm.Descriptor.Digest)
	c.index(t, digest.FromString("missing"), inner.Descriptor.Digest, amd.Descriptor.Digest)
	for _, test := range []struct {
		preferred digest.Digest
		want      *image.Document
	}{{"", arm}, {amd.Descriptor.Digest, amd}, {digest.FromString("missing"), arm}, {inner.Descriptor.Digest, arm}} {
		table := preferring(test.preferred).NewTable()
		add(t, table, c.image("a/b:1"))
		items, _, index, _ := tail(t, table)
		require.Len(t, items, 1)
		assert.Equal(t, "blobs/sha256/"+test.want.Config.Digest.Encoded(), items[0].Config)
		require.Len(t, index.Manifests, 1)
		assert.Equal(t, c.image().Digest(), index.Manifests[0].Digest)
	}
}

// Indexes that list the next one a hundred times each are looked at once, and not 10^16 times.
func TestWideIndexes(t *testing.T) {
	c := newContent()
	top := c.manifest(t, "amd64", "one")
	clear(c.configs) // Docker cannot run it, so that all is looked at.
	for range 8 {
		top = c.index(t, slices.Repeat([]digest.Digest{top.Descriptor.Digest}, 100)...)
	}
	assert.Contains(t, layout.OCI{}.LeftOut(c.image("app:1")), "is not there")
}

// An image that Docker cannot run is in index.json only.
func TestArtifacts(t *testing.T) {
	for name, config := range map[string]struct{ mediaType, raw string }{
		"another type":       {"application/vnd.example+json", `{"name":"chart"}`},
		"no document":        {"application/vnd.example", `chart`},
		"not a config":       {v1.MediaTypeImageConfig, `{}`},
		"attestation":        {v1.MediaTypeImageConfig, `{"os":"unknown","architecture":"unknown","rootfs":{"diff_ids":[]}}`},
		"other layer counts": {v1.MediaTypeImageConfig, `{"os":"linux","rootfs":{"diff_ids":["` + digest.FromString("x").String() + `"]}}`},
	} {
		c := newContent()
		d := digest.FromString(config.raw)
		c.configs[d] = []byte(config.raw)
		artifact := c.parse(t, map[string]any{"schemaVersion": 2, "mediaType": v1.MediaTypeImageManifest, "config": v1.Descriptor{MediaType: config.mediaType, Digest: d, Size: 2}, "layers": []int{}})
		table := both["oci"].NewTable()
		add(t, table, c.image("a/b:1"))
		_, _, index, names := tail(t, table)
		assert.Equal(t, []string{"index.json"}, names, name)
		assert.Len(t, index.Manifests, 1, name)
		assert.NotEmpty(t, both["oci"].LeftOut(c.image("a/b:1")), name)

		m := c.manifest(t, "amd64", "a")
		c.index(t, artifact.Descriptor.Digest, m.Descriptor.Digest)
		add(t, table, c.image("a/b:2"))
		items, _, _, _ := tail(t, table)
		require.Len(t, items, 1, name)
		assert.Equal(t, "blobs/sha256/"+m.Config.Digest.Encoded(), items[0].Config, "the image beside it")
		assert.Empty(t, both["oci"].LeftOut(c.image("a/b:2")), name)
	}
}

func TestCheck(t *testing.T) {
	c := newContent()
	plain := c.manifest(t, "amd64", "a")
	index := c.index(t, plain.Descriptor.Digest)
	encrypted := *plain
	encrypted.Layers = []v1.Descriptor{{MediaType: v1.MediaTypeImageLayerGzip + "+encrypted", Digest: digest.FromString("a")}}
	old := newContent().parse(t, map[string]any{"schemaVersion": 1, "fsLayers": []int{}})
	for _, l := range both {
		require.NoError(t, l.Check(plain))
		var wrong *layout.TypeError
		require.ErrorAs(t, l.Check(old), &wrong)
		assert.Contains(t, wrong.MediaType, "v1+json")
		assert.Contains(t, l.Types(), plain.Descriptor.MediaType)
	}
	oci, docker := both["oci"], both["docker"]
	for _, d := range []*image.Document{index, &encrypted} {
		require.NoError(t, oci.Check(d))
	}
	require.ErrorIs(t, docker.Check(index), layout.ErrIndex)
	require.ErrorContains(t, docker.Check(&encrypted), "encrypted")
}

// An error from the maker of the legacy metadata names the config, and adds
// nothing.
func TestLegacyMetadataFail(t *testing.T) {
	failure := errors.New("no luck")
	m := metadata
	m.Legacy = func([]byte, []digest.Digest) (layout.LegacyLayers, error) { return layout.LegacyLayers{}, failure }
	for _, l := range []layout.Layout{layout.Docker{Metadata: m}, layout.OCI{Metadata: m}} {
		table := l.NewTable()
		img := single(t, nil, "a")
		err := table.Add(img)
		require.ErrorIs(t, err, failure)
		require.ErrorContains(t, err, img.Top().Config.Digest.String())
		assert.True(t, table.Empty())
	}
}
