package archive_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// verified returns what Verify finds wrong.
func verified(t *testing.T, data []byte) string {
	report, err := open(t, data).Verify(t.Context(), nil)
	require.NoError(t, err)
	all := ""
	for _, problem := range report.Problems {
		all += problem.Error() + "\n"
	}
	return all
}

// listing returns an archive whose index.json lists an index, which lists another index,
// which lists a changed manifest.
func listing(t *testing.T, p parts, change func(m *v1.Manifest, inIndex, top *v1.Descriptor)) []byte {
	b := newTarball(t)
	b.blobs(p)
	var m v1.Manifest
	require.NoError(t, json.Unmarshal(ociBlob(t, p.manifest.Digest), &m))
	inIndex, top := v1.Descriptor{MediaType: v1.MediaTypeImageManifest}, v1.Descriptor{MediaType: v1.MediaTypeImageIndex}
	put := func(d *v1.Descriptor, document any) {
		data, err := json.Marshal(document)
		require.NoError(t, err)
		d.Digest, d.Size = b.blob(data), int64(len(data))
	}
	change(&m, &v1.Descriptor{}, &v1.Descriptor{})
	put(&inIndex, m)
	change(&v1.Manifest{Layers: make([]v1.Descriptor, 9)}, &inIndex, &top)
	index := v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{inIndex}}
	index.SchemaVersion = 2
	put(&top, index)
	change(&v1.Manifest{Layers: make([]v1.Descriptor, 9)}, &v1.Descriptor{}, &top)
	return b.json("index.json", v1.Index{Manifests: []v1.Descriptor{top}}).close()
}

// Every descriptor of a document must match it, each time that it is listed.
func TestVerifyComparesDescriptors(t *testing.T) {
	p := partsOf(t, "one")
	assert.Empty(t, verified(t, listing(t, p, func(*v1.Manifest, *v1.Descriptor, *v1.Descriptor) {})))
	for want, change := range map[string]func(m *v1.Manifest, inIndex, top *v1.Descriptor){
		"says that it is of type application/vnd.oci.image.index.v1+json":   func(_ *v1.Manifest, inIndex, _ *v1.Descriptor) { inIndex.MediaType = v1.MediaTypeImageIndex },
		"says that it is of type application/vnd.docker":                    func(_ *v1.Manifest, inIndex, _ *v1.Descriptor) { inIndex.MediaType = "application/vnd.docker.x" },
		"says that it is of type application/vnd.oci.image.manifest":        func(_ *v1.Manifest, _, top *v1.Descriptor) { top.MediaType = v1.MediaTypeImageManifest },
		"has data that is another blob":                                     func(m *v1.Manifest, _, _ *v1.Descriptor) { m.Config.Data = []byte("{}") },
		"has data that is another blob, " + digest.FromString("a").String(): func(m *v1.Manifest, _, _ *v1.Descriptor) { m.Layers[0].Data = []byte("a") },
		"has data that is another blob, " + digest.FromString("b").String(): func(_ *v1.Manifest, inIndex, _ *v1.Descriptor) { inIndex.Data = []byte("b") },
		"has data that is another blob, " + digest.FromString("c").String(): func(_ *v1.Manifest, _, top *v1.Descriptor) { top.Data = []byte("c") },
	} {
		assert.Contains(t, verified(t, listing(t, p, change)), want)
	}
	for _, file := range []string{"mt-manifest-as-index.tar", "dup-manifest.tar"} {
		data, err := os.ReadFile(filepath.Join(testdata, "cases", file))
		require.NoError(t, err)
		assert.NotEmpty(t, verified(t, data), file)
	}
}

// The same manifest listed twice, once with a wrong size.
func TestVerifyComparesEveryDescriptor(t *testing.T) {
	p := partsOf(t, "one")
	b := newTarball(t)
	b.blobs(p)
	manifest := ociBlob(t, p.manifest.Digest)
	right := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: b.blob(manifest), Size: int64(len(manifest))}
	wrong := right
	wrong.Size--
	index, err := json.Marshal(v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{right, wrong}})
	require.NoError(t, err)
	top := v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: b.blob(index), Size: int64(len(index))}
	assert.Contains(t, verified(t, b.json("index.json", v1.Index{Manifests: []v1.Descriptor{top}}).close()), "says that it has")
}

// One manifest may be listed many times, and each is compared.
func TestVerifyComparesDescriptorsOfOneManifest(t *testing.T) {
	p := partsOf(t, "one")
	for want, change := range map[string]func(*v1.Descriptor){
		"bytes":                         func(d *v1.Descriptor) { d.Size = 100 },
		"says that it is of type":       func(d *v1.Descriptor) { d.MediaType = v1.MediaTypeImageIndex },
		"has data that is another blob": func(d *v1.Descriptor) { d.Data = []byte("x") },
	} {
		b := newTarball(t)
		b.blobs(p)
		other := p.manifest
		change(&other)
		assert.Contains(t, verified(t, b.json("index.json", v1.Index{Manifests: []v1.Descriptor{p.manifest, p.manifest, other}}).close()), want)
	}
}

// Two entries of one name must be the same, or clients differ in which they take.
func TestVerifyFindsEntriesTwice(t *testing.T) {
	p := partsOf(t, "one")
	two := func(first, second string, table any) []byte {
		it := item{Config: "config", RepoTags: []string{"a:b"}}
		b := newTarball(t).json(first, table).file("config", p.config)
		for i, c := range p.content {
			name := p.diffIDs[i].Encoded() + ".tar"
			b.file(name, c)
			it.Layers = append(it.Layers, name)
		}
		return b.json(second, []item{it}).close()
	}
	for _, names := range [][2]string{{"manifest.json", "manifest.json"}, {"./manifest.json", "manifest.json"}, {"manifest.json", "./manifest.json"}, {"/manifest.json", "manifest.json"}} {
		assert.Contains(t, verified(t, two(names[0], names[1], nil)), "manifest.json is in the archive more than once, with different contents")
	}
	assert.Empty(t, verified(t, two("other.json", "manifest.json", nil)))
	again := newTarball(t).file("a", []byte("same")).file("a", []byte("same"))
	assert.NotContains(t, verified(t, again.json("manifest.json", []item{{Config: "a"}}).close()), "more than once")
}

// A layer must be a tar archive, even if its digests are right.
func TestVerifyWantsLayersToBeTars(t *testing.T) {
	for _, c := range []struct {
		stored, content []byte
		wrong           bool
	}{
		{content: []byte("no tar"), wrong: true},
		{content: make([]byte, 511), wrong: true},
		{content: []byte("no tar, and longer than a block" + string(make([]byte, 1000))), wrong: true},
		{content: make([]byte, 1024)},
		{content: nil},
		{content: []byte("no tar"), stored: gzipped(t, []byte("no tar")), wrong: true},
		{content: nil, stored: gzipped(t, nil)},
	} {
		if c.stored == nil {
			c.stored = c.content
		}
		data := newTarball(t).file("config.json", config(digest.FromBytes(c.content))).file("layer.tar", c.stored).file("manifest.json", []byte(one)).close()
		if found := verified(t, data); c.wrong {
			assert.Contains(t, found, "layer 0, layer.tar, is no tar archive")
		} else {
			assert.Empty(t, found)
		}
	}
}
