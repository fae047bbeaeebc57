package image_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

const (
	aDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	bDigest = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	config  = `"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + aDigest + `","size":2}`
	layers  = `"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"` + bDigest + `","size":512}]`
	list    = `"manifests":[{"digest":"` + aDigest + `","size":2}]`
)

func typed(mediaType string) string { return `"schemaVersion":2,"mediaType":"` + mediaType + `",` }

// The type of a document can be told from its descriptor, its own media type and its fields.
func TestParseDocument(t *testing.T) {
	const oci, index = v1.MediaTypeImageManifest, v1.MediaTypeImageIndex
	for name, c := range map[string]struct {
		raw, described string
		mediaType      string
		index          bool
	}{
		"manifest":                {`{` + typed(oci) + config + `,` + layers + `}`, "", oci, false},
		"Docker manifest":         {`{` + typed(image.DockerManifest) + config + `}`, "", image.DockerManifest, false},
		"index":                   {`{` + typed(index) + list + `}`, "", index, true},
		"Docker list":             {`{` + typed(image.DockerList) + list + `}`, "", image.DockerList, true},
		"manifest by its fields":  {`{"schemaVersion":2,` + config + `}`, "", oci, false},
		"Docker's by its config":  {`{"schemaVersion":2,` + strings.Replace(config, v1.MediaTypeImageConfig, image.DockerConfig, 1) + `}`, "", image.DockerManifest, false},
		"index by its fields":     {`{"schemaVersion":2,` + list + `}`, "", index, true},
		"empty index":             {`{"schemaVersion":2,"manifests":[]}`, "", index, true},
		"as described":            {`{` + config + `}`, oci, oci, false},
		"it knows better":         {`{` + typed(oci) + config + `}`, image.DockerManifest, oci, false},
		"nothing says what it is": {`{` + config + `}`, "", "", false},
		"schema 1":                {`{"schemaVersion":1,"fsLayers":[]}`, "", "application/vnd.docker.distribution.manifest.v1+json", false},
		"signed schema 1":         {`{"schemaVersion":1,"fsLayers":[],"signatures":[]}`, "", "application/vnd.docker.distribution.manifest.v1+prettyjws", false},
		"something else":          {`{` + typed("application/vnd.example") + list + `}`, "", "application/vnd.example", false},
	} {
		d, err := image.ParseDocument([]byte(c.raw), c.described)
		require.NoError(t, err, name)
		assert.Equal(t, c.mediaType, d.Descriptor.MediaType, name)
		assert.Equal(t, digest.FromString(c.raw), d.Descriptor.Digest, name)
		assert.EqualValues(t, len(c.raw), d.Descriptor.Size, name)
		assert.Equal(t, c.index, d.IsIndex(), name)
		assert.Equal(t, c.raw, string(d.Raw), name)
	}
}

// A document that different programs would take for different things, or that
// cannot be used, is refused.
func TestParseDocumentRefuses(t *testing.T) {
	for name, c := range map[string]struct{ raw, want string }{
		"no JSON":                        {"hello", "decoding manifest"},
		"binary":                         {"\x1f\x8b\x08\x00", "not a JSON document"},
		"two things at once":             {`{` + typed(v1.MediaTypeImageManifest) + config + `,` + list + `}`, "ambiguous"},
		"an index with a config":         {`{` + typed(v1.MediaTypeImageIndex) + list + `,` + config + `}`, "ambiguous"},
		"an index with layers":           {`{` + typed(image.DockerList) + list + `,` + layers + `}`, "ambiguous"},
		"an index of schema 1":           {`{` + typed(v1.MediaTypeImageIndex) + list + `,"fsLayers":[]}`, "ambiguous"},
		"a manifest of schema 1 as well": {`{` + typed(v1.MediaTypeImageManifest) + config + `,"fsLayers":[]}`, "ambiguous"},
		"no config":                      {`{` + typed(v1.MediaTypeImageManifest) + layers + `}`, "without a config"},
		"a digest that is a path":        {`{` + typed(v1.MediaTypeImageIndex) + `"manifests":[{"digest":"sha256:../../etc/passwd"}]}`, "invalid checksum"},
		"a layer without digest":         {`{` + typed(v1.MediaTypeImageManifest) + config + `,"layers":[{}]}`, "invalid checksum"},
		"an unknown algorithm":           {`{` + typed(v1.MediaTypeImageManifest) + `"config":{"digest":"md5:0123456789abcdef0123456789abcdef"}}`, "algorithm"},
		"too deep":                       {strings.Repeat(`{"a":`, 100), "nested more than"},
		"too many objects":               {`[` + strings.Repeat(`{},`, 1<<17+1) + `{}]`, "objects"},
		"too many values":                {`[` + strings.Repeat(`0,`, 1<<20+1) + `0]`, "values"},
	} {
		_, err := image.ParseDocument([]byte(c.raw), "")
		require.ErrorContains(t, err, c.want, name)
		if strings.HasPrefix(name, "too ") {
			require.ErrorIs(t, err, errdef.ErrLimit, name)
		}
	}
}

// A brace within a string counts for nothing, however it is escaped.
func TestLimitsKnowStrings(t *testing.T) {
	var s []string
	require.NoError(t, image.Decode("list", []byte(`["`+strings.Repeat(`{[\"`, 1<<18)+`"]`), &s))
	assert.Len(t, s, 1)
}

func TestBlobsInOrder(t *testing.T) {
	d, err := image.ParseDocument([]byte(`{`+typed(v1.MediaTypeImageManifest)+layers+`,`+config+`}`), "")
	require.NoError(t, err)
	var kinds []image.Kind
	var digests []digest.Digest
	for b := range image.BlobsOf([]*image.Document{d, d}) {
		kinds, digests = append(kinds, b.Kind), append(digests, b.Digest)
	}
	once := []image.Kind{image.KindLayer, image.KindConfig, image.KindDocument}
	assert.Equal(t, slices.Concat(once, once), kinds)
	assert.Equal(t, []digest.Digest{bDigest, aDigest, d.Descriptor.Digest}, digests[:3])
	for range image.BlobsOf([]*image.Document{d, d}) {
		break // Stopping early does no harm.
	}
}

// documents makes indexes, each of which lists others by name.
type documents map[string]*image.Document

func (ds documents) add(t testing.TB, name string, listed ...string) *image.Document {
	t.Helper()
	index := v1.Index{MediaType: v1.MediaTypeImageIndex, Annotations: map[string]string{"name": name}, Manifests: []v1.Descriptor{}}
	for _, l := range listed {
		d := digest.FromString(l) // A document that is not there.
		if ds[l] != nil {
			d = ds[l].Descriptor.Digest
		}
		index.Manifests = append(index.Manifests, v1.Descriptor{Digest: d})
	}
	index.SchemaVersion = 2
	raw, err := json.Marshal(index)
	require.NoError(t, err)
	ds[name], err = image.ParseDocument(raw, "")
	require.NoError(t, err)
	return ds[name]
}

func (ds documents) find(listed v1.Descriptor) (*image.Document, error) {
	for _, d := range ds {
		if d.Descriptor.Digest == listed.Digest {
			return d, nil
		}
	}
	return nil, nil
}

func (ds documents) names(ordered []*image.Document) (names []string) {
	for _, o := range ordered {
		for name, d := range ds {
			if d == o {
				names = append(names, name)
			}
		}
	}
	return names
}

// Every document comes once, after those it lists; missing ones are left out.
func TestOrder(t *testing.T) {
	ds := documents{}
	ds.add(t, "a")
	ds.add(t, "b")
	ds.add(t, "inner", "b", "missing", "a")
	top := ds.add(t, "top", "a", "inner", "b", "a", "inner")
	ordered, err := image.Order(top, ds.find)
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b", "inner", "top"}, ds.names(ordered))

	img := &image.Image{Documents: ordered}
	assert.Equal(t, top, img.Top())
	assert.Equal(t, top.Descriptor.Digest, img.Digest())
	assert.Equal(t, ds["inner"], img.Find(ds["inner"].Descriptor.Digest))
	assert.Nil(t, img.Find(aDigest))

	failure := errors.New("no luck")
	_, err = image.Order(top, func(v1.Descriptor) (*image.Document, error) { return nil, failure })
	require.ErrorIs(t, err, failure)
}

func TestOrderOfDeepIndexes(t *testing.T) {
	ds := documents{}
	name := "0"
	ds.add(t, name)
	for depth := 1; depth <= image.MaxIndexDepth+1; depth++ {
		next := fmt.Sprint(depth)
		top := ds.add(t, next, name, name)
		name = next
		ordered, err := image.Order(top, ds.find)
		if depth <= image.MaxIndexDepth {
			require.NoError(t, err)
			assert.Len(t, ordered, depth+1)
		} else {
			require.ErrorIs(t, err, image.ErrDepth)
		}
	}
}

func TestParseConfig(t *testing.T) {
	c, err := image.ParseConfig("x", []byte(`{"os":"linux","architecture":"arm","variant":"v7","os.version":7,"os.features":["a"],"config":{"Memory":"much"},
		"rootfs":{"diff_ids":["`+aDigest+`"]}}`))
	require.NoError(t, err)
	assert.Equal(t, v1.Platform{OS: "linux", Architecture: "arm", Variant: "v7", OSFeatures: []string{"a"}}, c.Platform)
	assert.Equal(t, []digest.Digest{aDigest}, c.DiffIDs)
	assert.Equal(t, "linux/arm/v7", image.PlatformString(&c.Platform))
	assert.Empty(t, image.PlatformString(nil))
	assert.Empty(t, image.PlatformString(&v1.Platform{Variant: "v7"}))
	for raw, want := range map[string]string{
		"hello":                            "decoding config x",
		"[]":                               "decoding config x",
		`{"rootfs":{"diff_ids":["../x"]}}`: `digest "../x"`,
	} {
		_, err := image.ParseConfig("x", []byte(raw))
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "struct {", "the type has a name")
	}
}

// The config of something else than an image has no root file system.
func TestConfigOfAnArtifact(t *testing.T) {
	for raw, want := range map[string]bool{`{}`: false, `{"rootfs":null}`: false, `{"rootfs":{}}`: true} {
		c, err := image.ParseConfig("x", []byte(raw))
		require.NoError(t, err)
		assert.Equal(t, want, c.HasRootFS, raw)
	}
}

// Layers are those of the manifest with the diff IDs of the config, if both have
// equally many.
func TestLayers(t *testing.T) {
	d, err := image.ParseDocument([]byte(`{`+typed(v1.MediaTypeImageManifest)+layers+`,`+config+`}`), "")
	require.NoError(t, err)
	img := &image.Image{Documents: []*image.Document{d}, Configs: map[digest.Digest][]byte{}}
	_, err = img.Layers(d)
	require.ErrorContains(t, err, "has not been written")
	img.Configs[aDigest] = []byte(`{"rootfs":{"diff_ids":["` + bDigest + `"]}}`)
	got, err := img.Layers(d)
	require.NoError(t, err)
	assert.Equal(t, []image.Layer{{Descriptor: d.Layers[0], DiffID: bDigest}}, got)
	img.Configs[aDigest] = []byte(`{"rootfs":{"diff_ids":[]}}`)
	_, err = img.Layers(d)
	require.ErrorContains(t, err, "lists 0 layers, the manifest 1")
}

// The config of an image is one even if its diff IDs are wrong: else an image would be
// carried as an artifact, which nobody checks.
func TestIsConfig(t *testing.T) {
	for raw, want := range map[string]bool{
		`{"rootfs":{"diff_ids":["sha256:../x"]}}`: true, `{"rootfs":{"diff_ids":[]},"architecture":1}`: true, `{"rootfs":[]}`: true,
		`{"rootfs":null}`: false, `{}`: false, `[]`: false, `x`: false,
	} {
		assert.Equal(t, want, image.IsConfig([]byte(raw)), raw)
	}
}
