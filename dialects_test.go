package dockerarchive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tarball is an archive that a test makes.
type tarball struct {
	t testing.TB
	bytes.Buffer
	*tar.Writer
}

func newTarball(t testing.TB) *tarball {
	b := &tarball{t: t}
	b.Writer = tar.NewWriter(&b.Buffer)
	return b
}

func (b *tarball) header(h *tar.Header, content []byte) *tarball {
	b.t.Helper()
	h.Size = int64(len(content))
	require.NoError(b.t, b.WriteHeader(h))
	_, err := b.Writer.Write(content)
	require.NoError(b.t, err)
	return b
}

func (b *tarball) file(name string, content []byte) *tarball {
	return b.header(&tar.Header{Name: name, Mode: 0o644}, content)
}

func (b *tarball) json(name string, v any) *tarball {
	data, err := json.Marshal(v)
	require.NoError(b.t, err)
	return b.file(name, data)
}

func (b *tarball) dir(name string) *tarball {
	return b.header(&tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeDir}, nil)
}

func (b *tarball) symlink(name, target string) *tarball {
	return b.header(&tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}, nil)
}

func (b *tarball) hardlink(name, target string) *tarball {
	return b.header(&tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeLink}, nil)
}

func (b *tarball) close() []byte {
	require.NoError(b.t, b.Close())
	return b.Bytes()
}

// item is an element of manifest.json.
type item struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// parts are what an image of testdata/oci consists of.
type parts struct {
	name            string
	manifest        v1.Descriptor
	config          []byte
	configDigest    digest.Digest
	stored, content [][]byte // layers, as stored and uncompressed
	digests         []digest.Digest
	diffIDs         []digest.Digest
}

func partsOf(t testing.TB, name string) parts {
	data := origins(t)[name].manifest
	var m v1.Manifest
	require.NoError(t, json.Unmarshal(data, &m))
	p := parts{
		name:         name,
		manifest:     v1.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(data), Size: int64(len(data))},
		config:       ociBlob(t, m.Config.Digest),
		configDigest: m.Config.Digest,
	}
	p.diffIDs = diffIDsOf(t, p.config)
	for _, l := range m.Layers {
		stored := ociBlob(t, l.Digest)
		r, err := gzip.NewReader(bytes.NewReader(stored))
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		p.stored, p.content, p.digests = append(p.stored, stored), append(p.content, content), append(p.digests, l.Digest)
	}
	return p
}

// dialects are archives as tools write them of which testdata has none. Each
// holds the image "one" under the name example.com/one:v1.
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
		b.json("manifest.json", nil) // Replaced below, as a later entry of the same name does.
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

// blobs adds the manifest, config and layers as an OCI layout has them.
func (b *tarball) blobs(p parts) *tarball {
	add := func(data []byte) { b.file("blobs/sha256/"+digest.FromBytes(data).Encoded(), data) }
	add(ociBlob(b.t, p.manifest.Digest))
	add(p.config)
	for _, l := range p.stored {
		add(l)
	}
	return b
}

func TestReaderReadsEveryDialect(t *testing.T) {
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			b := newTarball(t)
			d.make(b, partsOf(t, "one"))
			r := openFile(t, b.close())
			list, err := r.List()
			require.NoError(t, err)
			require.Len(t, list, 1)
			require.Len(t, list[0], 1)
			assert.Equal(t, "example.com/one:v1", list[0][0].DockerReference().String())
			requireOrigin(t, list[0][0], origins(t)["one"], d.carries)
			problems, err := r.Verify(context.Background(), nil)
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

// TestReaderReadsDocker1_9 reads what docker save wrote before there was
// manifest.json.
func TestReaderReadsDocker1_9(t *testing.T) {
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
	r := openFile(t, b.close())
	list, err := r.List()
	require.NoError(t, err)
	var names []string
	for _, refs := range list {
		for _, ref := range refs {
			names = append(names, filepath.Base(ref.StringWithinTransport()))
			src, err := ref.NewImageSource(context.Background(), nil)
			require.NoError(t, err)
			data, mediaType, err := src.GetManifest(context.Background(), nil)
			require.NoError(t, err)
			config := readBlobs(t, src, data, mediaType)
			if len(names) == 2 {
				assert.JSONEq(t, `{
					"created": "2015-01-02T03:04:05Z", "os": "linux", "architecture": "arm64",
					"container_config": {"Cmd": ["/bin/sh", "-c", "step top"]},
					"config": {"Env": ["ID=top"], "Memory": 1152921504606846976},
					"rootfs": {"type": "layers", "diff_ids": ["`+p.diffIDs[0].String()+`", "`+p.diffIDs[1].String()+`", "`+p.diffIDs[2].String()+`"]},
					"history": [
						{"created": "2015-01-02T03:04:05Z", "created_by": "/bin/sh -c step base"},
						{"created": "2015-01-02T03:04:05Z", "created_by": "/bin/sh -c step middle"},
						{"created": "2015-01-02T03:04:05Z", "created_by": "/bin/sh -c step top"}]}`, string(config))
			}
		}
	}
	assert.Equal(t, []string{"image:v0", "image:v1", "archive:@2"}, names)
	problems, err := r.Verify(context.Background(), nil)
	require.NoError(t, err)
	assert.Empty(t, problems)
}

func TestChoosingAnImage(t *testing.T) {
	ctx := context.Background()
	p := partsOf(t, "one")
	b := newTarball(t)
	b.file("a.json", p.config).file("other.json", append([]byte(" "), p.config...))
	var layers []string
	for i, c := range p.content {
		name := p.diffIDs[i].Encoded() + ".tar"
		b.file(name, c)
		layers = append(layers, name)
	}
	b.json("manifest.json", []item{
		{"a.json", []string{"short", "library/tagged:v2", "twice:v1"}, layers},
		{"other.json", []string{"not a name!", "twice:v1"}, layers},
		{"a.json", nil, layers},
	})
	path := writeFile(t, b.close())
	r, err := NewReader(nil, path)
	require.NoError(t, err)
	defer r.Close()
	for ref, want := range map[string][]string{
		":short":                          {"short"},
		":docker.io/library/short:latest": {"short"},
		":tagged:v2":                      {"library/tagged:v2"},
		":@0":                             {"short", "library/tagged:v2", "twice:v1"},
		":@2":                             nil,
		":twice:v1":                       {"2 images", "@0 short library/tagged:v2 twice:v1, @1 not a name! twice:v1, @2"},
		":none":                           {"docker.io/library/none:latest", "@1 not a name! twice:v1"},
		":tagged":                         {"no image is named"},
		":@3":                             {"@3", "@1 not a name! twice:v1"},
		"":                                {"3 images", "@1 not a name! twice:v1"},
	} {
		standalone, err := ParseReference(path + ref)
		require.NoError(t, err)
		r2, bound, err := NewReaderForReference(nil, standalone)
		require.NoError(t, err)
		tags, err := r2.ManifestTagsForReference(bound)
		src, srcErr := standalone.NewImageSource(ctx, nil)
		if err == nil {
			assert.Equal(t, want, tags, ref)
			require.NoError(t, srcErr)
			require.NoError(t, src.Close())
		} else {
			for _, part := range want {
				assert.ErrorContains(t, err, part, ref)
				assert.ErrorContains(t, srcErr, part, ref)
			}
		}
		require.NoError(t, r2.Close())
		_, _, err = NewReaderForReference(nil, bound)
		require.Error(t, err)
	}
}

// TestReaderReadsAnOCILayout checks that an OCI layout is read from an archive as it is,
// with every image in it.
func TestReaderReadsAnOCILayout(t *testing.T) {
	b := newTarball(t)
	require.NoError(t, b.AddFS(os.DirFS("testdata/oci")))
	r := openFile(t, b.close())
	list, err := r.List()
	require.NoError(t, err)
	var names []string
	for _, refs := range list {
		name := filepath.Base(refs[0].DockerReference().Name())
		names = append(names, name)
		requireOrigin(t, refs[0], origins(t)[name], true)
	}
	assert.Equal(t, []string{"one", "two", "zstd", "multi"}, names)
	problems, err := r.Verify(context.Background(), nil)
	require.NoError(t, err)
	assert.Empty(t, problems)
}
