package archive_test

import (
	"archive/tar"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/archive"
)

// dialects are archives as written by tools that testdata has no archive of.
// Each holds the image "one" under the name example.com/one:v1.
var dialects = []struct {
	name     string
	carries  bool
	dangling bool // index.json refers to a manifest that is not there
	make     func(*tarball, parts)
}{
	{"kaniko", false, false, func(b *tarball, p parts) { // Like crane, by way of the same library.
		it := item{Config: p.configDigest.String(), RepoTags: []string{"example.com/one:v1"}}
		b.file(it.Config, p.config)
		for i, d := range p.digests {
			name := d.Encoded() + ".tar.gz"
			if i < 3 { // The fourth is the second again.
				b.file(name, p.stored[i])
			}
			it.Layers = append(it.Layers, name)
		}
		b.json("manifest.json", []item{it})
	}},
	{"jib", false, false, func(b *tarball, p parts) {
		it := item{Config: "config.json", RepoTags: []string{"example.com/one:v1"}}
		for i, d := range p.digests {
			name := d.Encoded() + ".tar.gz"
			b.file(name, p.stored[i]) // Twice, if the image has it twice.
			it.Layers = append(it.Layers, name)
		}
		b.file("config.json", p.config).json("manifest.json", []item{it})
	}},
	{"bazel", false, false, func(b *tarball, p parts) {
		it := item{Config: p.configDigest.Encoded() + ".json", RepoTags: []string{"example.com/one:v1"}}
		b.header(&tar.Header{Name: "pax_global_header", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "bazel"}}, nil)
		b.dir("./").file("./"+it.Config, p.config)
		for i := range p.content {
			dir := string(rune('a' + i))
			b.dir("./"+dir+"/").file("./"+dir+"/VERSION", []byte("1.0"))
			if i == 3 {
				b.hardlink("./d/layer.tar", "./b/layer.tar")
			} else {
				b.file("./"+dir+"/layer.tar", p.content[i])
			}
			it.Layers = append(it.Layers, dir+"/layer.tar")
		}
		b.json("./manifest.json", []item{it}).json("./repositories", map[string]map[string]string{"example.com/one": {"v1": "d"}})
	}},
	{"nix", false, false, func(b *tarball, p parts) {
		it := item{Config: p.configDigest.Encoded() + ".json", RepoTags: []string{"example.com/one:v1"}}
		for i, c := range p.content {
			dir := p.diffIDs[i].Encoded()
			b.file("/nix/store/"+dir+"-layer.tar", c).symlink(dir+"/layer.tar", "/nix/store/"+dir+"-layer.tar")
			it.Layers = append(it.Layers, dir+"/layer.tar")
		}
		b.symlink("config", "/"+it.Config).file(it.Config, p.config).json("manifest.json", []item{it})
	}},
	{"crane legacy", false, false, func(b *tarball, p parts) {
		it := item{Config: p.configDigest.Encoded() + ".json", RepoTags: []string{"example.com/one:v1"}}
		for i, c := range p.content {
			dir := digest.FromString(string(rune('a' + i))).Encoded()
			if i == 3 {
				b.symlink(dir+"/layer.tar", "../"+digest.FromString("b").Encoded()+"/layer.tar")
			} else {
				b.file(dir+"/layer.tar", c)
			}
			b.file(dir+"/VERSION", []byte("1.0")).json(dir+"/json", map[string]string{"id": dir})
			it.Layers = append(it.Layers, dir+"/layer.tar")
		}
		b.file(it.Config, p.config).json("manifest.json", []item{it})
		b.json("repositories", map[string]map[string]string{"example.com/one": {"v1": digest.FromString("d").Encoded()}})
	}},
	{"regctl", true, false, func(b *tarball, p parts) { // The metadata come first.
		d := p.manifest
		d.Annotations = map[string]string{v1.AnnotationRefName: "v1"}
		b.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)).json("index.json", v1.Index{Manifests: []v1.Descriptor{d}})
		it := item{Config: "blobs/sha256/" + p.configDigest.Encoded(), RepoTags: []string{"example.com/one:v1"}}
		for _, d := range p.digests {
			it.Layers = append(it.Layers, "blobs/sha256/"+d.Encoded())
		}
		b.json("manifest.json", []item{it}).blobs(p)
	}},
	{"umoci", true, false, func(b *tarball, p parts) { // tar -C layout -c .
		d := p.manifest
		d.Annotations = map[string]string{v1.AnnotationRefName: "example.com/one:v1"}
		b.dir("./").dir("./blobs/").dir("./blobs/sha256/").blobs(p)
		b.json("./index.json", v1.Index{Manifests: []v1.Descriptor{d}}).file("./oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	}},
	{"moby 25 with an index.json of manifests it left out", false, true, func(b *tarball, p parts) {
		d := p.manifest
		d.Annotations = map[string]string{"io.containerd.image.name": "example.com/one:v1"}
		it := item{Config: "blobs/sha256/" + p.configDigest.Encoded(), RepoTags: []string{"example.com/one:v1"}}
		b.file(it.Config, p.config)
		for i, d := range p.diffIDs {
			b.file("blobs/sha256/"+d.Encoded(), p.content[i])
			it.Layers = append(it.Layers, "blobs/sha256/"+d.Encoded())
		}
		b.json("index.json", v1.Index{Manifests: []v1.Descriptor{d}}).json("manifest.json", []item{it})
	}},
}

func TestEveryDialect(t *testing.T) {
	p := partsOf(t, "one")
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			b := newTarball(t)
			d.make(b, p)
			a := open(t, b.close())
			require.Len(t, a.Images(), 1)
			img, err := a.Find("example.com/one:v1")
			require.NoError(t, err)
			requireParts(t, img, p, d.carries)
			problems, err := readEverything(t.Context(), a)
			require.NoError(t, err)
			if d.dangling {
				assert.Len(t, problems, 1)
				assert.ErrorContains(t, problems[0], "saved without the manifest")
			} else {
				assert.Empty(t, problems)
			}
		})
	}
}

// requireParts compares an image with what it was made from. carried tells
// whether the archive has its manifest.
func requireParts(t testing.TB, img *archive.Image, want parts, carried bool) {
	ctx := t.Context()
	m, err := img.Manifest(ctx)
	require.NoError(t, err)
	require.False(t, m.IsIndex())
	assert.Equal(t, !carried, m.Made)
	assert.Equal(t, int64(len(m.Data)), m.Size)
	digests := want.diffIDs
	if carried {
		digests = want.digests
		assert.Equal(t, want.manifest.Digest, m.Digest)
		assert.Equal(t, string(ociBlob(t, m.Digest)), string(m.Data))
	} else {
		assert.Equal(t, digest.FromBytes(m.Data), m.Digest)
		assert.Equal(t, "application/vnd.docker.distribution.manifest.v2+json", m.MediaType)
	}
	again, err := img.Instance(ctx, m.Digest)
	require.NoError(t, err)
	assert.Equal(t, m, again)
	config, err := m.Config(ctx)
	require.NoError(t, err)
	assert.Equal(t, string(want.config), string(config))
	layers, err := m.Layers(ctx)
	require.NoError(t, err)
	require.Len(t, layers, len(digests))
	for n, l := range layers {
		assert.Equal(t, digests[n], l.Digest)
		assert.Equal(t, want.diffIDs[n], l.DiffID)
		require.NoError(t, readLayer(ctx, l))
		b, err := l.Blob(ctx)
		require.NoError(t, err)
		assert.Equal(t, l.Size, b.Size)
	}
	d, err := img.Describe(ctx)
	require.NoError(t, err)
	assert.Equal(t, want.configDigest, d.Config)
	assert.Equal(t, len(digests), d.Layers)
}

// TestDocker1_9 reads what docker save wrote before there was
// manifest.json.
func TestDocker1_9(t *testing.T) {
	p := partsOf(t, "one")
	b := newTarball(t)
	ids := []string{"base", "middle", "top"}
	for i, id := range ids {
		config := map[string]any{
			"id": id, "created": "2015-01-02T03:04:05Z", "Size": 5, "os": "linux", "architecture": "arm64",
			"container_config": map[string]any{"Cmd": []string{"/bin/sh", "-c", "step " + id}},
			"config":           map[string]any{"Env": []string{"ID=" + id}, "Memory": int64(1) << 60},
		}
		if i > 0 {
			config["parent"] = ids[i-1]
		}
		b.dir(id+"/").file(id+"/VERSION", []byte("1.0")).json(id+"/json", config).file(id+"/layer.tar", p.content[i])
	}
	b.json("repositories", map[string]map[string]string{"old/image": {"v1": "top", "v0": "middle"}})
	b.json("other/json", map[string]string{"id": "other"}).file("other/layer.tar", p.content[0])
	a := open(t, b.close())
	var names []string
	for _, img := range a.Images() {
		names = append(names, strings.Join(img.Names, " "))
	}
	assert.Equal(t, []string{"old/image:v0", "old/image:v1", ""}, names)
	img, err := a.Find("old/image:v1")
	require.NoError(t, err)
	m, err := img.Manifest(t.Context())
	require.NoError(t, err)
	assert.True(t, m.Made)
	config, err := m.Config(t.Context())
	require.NoError(t, err)
	assert.JSONEq(t, `{
		"created": "2015-01-02T03:04:05Z", "os": "linux", "architecture": "arm64",
		"container_config": {"Cmd": ["/bin/sh", "-c", "step top"]},
		"config": {"Env": ["ID=top"], "Memory": 1152921504606846976},
		"rootfs": {"type": "layers", "diff_ids": ["`+p.diffIDs[0].String()+`", "`+p.diffIDs[1].String()+`", "`+p.diffIDs[2].String()+`"]},
		"history": [
			{"created": "2015-01-02T03:04:05Z", "created_by": "/bin/sh -c step base"},
			{"created": "2015-01-02T03:04:05Z", "created_by": "/bin/sh -c step middle"},
			{"created": "2015-01-02T03:04:05Z", "created_by": "/bin/sh -c step top"}]}`, string(config))
	problems, err := readEverything(t.Context(), a)
	require.NoError(t, err)
	assert.Empty(t, problems)
}
