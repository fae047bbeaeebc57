package copying_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// byDigest becomes a name by digest when the digest is known.
const byDigest = "example.com/x@"

// isReference reports whether one of the names used here is a reference.
func isReference(name string) bool {
	return strings.HasPrefix(name, "example.com/") || strings.HasPrefix(name, "docker.io/")
}

// form is how a tool writes an archive.
type form struct {
	name        string
	oci, docker bool // it has index.json, manifest.json
	blobs       bool // all content is in blobs/
	compressed  bool // layers may be
	platforms   bool // images are indexes
	layer       func(n int, l imagetest.Layer) string
}

func asBlob(_ int, l imagetest.Layer) string { return blobPath(l.Digest) }

func blobPath(d digest.Digest) string { return "blobs/" + d.Algorithm().String() + "/" + d.Encoded() }

var forms = []form{
	{name: "docker before 25", docker: true, layer: func(_ int, l imagetest.Layer) string {
		return imagetest.Sum([]byte("layer "+l.Digest.Encoded())) + "/layer.tar"
	}},
	{name: "containers/image", docker: true, layer: func(_ int, l imagetest.Layer) string { return l.Digest.Encoded() + ".tar" }},
	{name: "crane", docker: true, compressed: true, layer: func(_ int, l imagetest.Layer) string { return l.Digest.Encoded() + ".tar.gz" }},
	{name: "docker since 25", oci: true, docker: true, blobs: true, layer: asBlob},
	{name: "OCI with manifest.json", oci: true, docker: true, blobs: true, compressed: true, layer: asBlob},
	{name: "OCI", oci: true, blobs: true, compressed: true, layer: asBlob},
	{name: "containerd", oci: true, docker: true, blobs: true, compressed: true, platforms: true, layer: asBlob},
}

// author describes the image that an archive is meant to hold.
type author struct {
	name, arch string
	config     []byte
	layers     []imagetest.Layer
}

// image is the image of the reading that the author means.
func (a *author) image() string {
	r := &reading{config: a.config}
	for _, l := range a.layers {
		r.layers = append(r.layers, l.DiffID())
	}
	return r.image()
}

// told is a layer as an archive describes it.
type told struct {
	imagetest.Layer
	more int64 // added to its size
}

// telling is the entry of an image in a table of contents.
type telling struct {
	of         *author
	names      []string
	config     []byte
	configType string
	// Added to sizes.
	moreConfig, more int64
	configDigest     digest.Digest // instead of the true one
	layers           []told
}

// making is an archive that is being made.
type making struct {
	*rand.Rand
	form    form
	authors []*author
	oci     []*telling // of index.json
	docker  []*telling // of manifest.json
	faults  []string   // the faults that were made
	cut     bool       // the archive ends before its end
	flat    bool       // platforms are in index.json
	choose  func() []imagetest.Layer

	names []string // of files, in their order
	files map[string][]byte
}

// makeArchive makes the archive of a seed.
func makeArchive(t testing.TB, seed uint64) (*making, []byte) {
	t.Helper()
	m := &making{Rand: rand.New(rand.NewPCG(seed, 1)), files: map[string][]byte{}}
	m.form = forms[m.IntN(len(forms))]
	m.choose = m.someLayers
	m.imagineAll(t, 1+m.IntN(3))
	n := max(0, m.IntN(5)-1)
	for range n {
		spoil := spoilers[m.IntN(len(spoilers))]
		if spoil.do(m) {
			m.faults = append(m.faults, spoil.name)
		}
	}
	m.write(t)
	return m, m.pack(t)
}

// imagineAll makes images, and tellings that tell the truth.
func (m *making) imagineAll(t testing.TB, images int) {
	t.Helper()
	for i := range images {
		archs := []string{"amd64"}
		if m.form.platforms {
			archs = append(archs, "arm64")
		}
		name := []string{"example.com/one:v1", "example.com/two:v1", "docker.io/library/three:v2"}[i]
		for n, arch := range archs {
			a := &author{name: name, arch: arch, layers: m.choose()}
			a.config = m.makeConfig(t, a, i)
			tell := func() *telling {
				x := &telling{of: a, names: []string{name}, config: a.config, configType: v1.MediaTypeImageConfig}
				for _, l := range a.layers {
					x.layers = append(x.layers, told{Layer: l})
				}
				return x
			}
			if m.form.oci {
				m.oci = append(m.oci, tell())
			}
			if m.form.docker && n == 0 {
				m.docker = append(m.docker, tell())
			}
			m.authors = append(m.authors, a)
		}
	}
}

// someLayers are a few layers, so that images share some: each as it is, and
// compressed with gzip and zstd.
var someLayers = sync.OnceValue(func() (all [8][3]imagetest.Layer) {
	for seed := range all {
		plain := imagetest.Plain(uint64(seed), seed*seed*30)
		all[seed] = [3]imagetest.Layer{plain, plain.InGzip(), plain.In(imagetest.Zstandard, v1.MediaTypeImageLayerZstd)}
	}
	return all
})

// someLayers returns the layers of an image.
func (m *making) someLayers() (layers []imagetest.Layer) {
	forms := 1
	if m.form.compressed {
		forms = 2
	}
	if m.form.compressed && m.form.oci {
		forms = 3
	}
	for range m.IntN(5) {
		layers = append(layers, someLayers()[m.IntN(8)][m.IntN(forms)])
	}
	return layers
}

// makeConfig returns the config of an image. Fields that need not matter are odd at
// times.
func (m *making) makeConfig(t testing.TB, a *author, n int) []byte {
	t.Helper()
	ids := []digest.Digest{}
	for _, l := range a.layers {
		ids = append(ids, l.DiffID())
	}
	config := map[string]any{
		"os": "linux", "architecture": a.arch, "author": fmt.Sprint(n),
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	}
	if m.IntN(4) == 0 {
		config["created"] = []string{"", "2024-01-02T03:04:05+00:00Z", "yesterday"}[m.IntN(3)]
	}
	if m.IntN(4) == 0 {
		config["config"] = map[string]any{"Entrypoint": "/bin/sh", "Memory": "much"}
	}
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	return raw
}

// put adds a file, unless it is there.
func (m *making) put(name string, data []byte) {
	if _, ok := m.files[name]; !ok {
		m.names = append(m.names, name)
		m.files[name] = data
	}
}

func (m *making) putJSON(t testing.TB, name string, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	if name == "" {
		name = blobPath(digest.FromBytes(data))
	}
	m.put(name, data)
	return data
}

// write makes the files of everything that is told.
func (m *making) write(t testing.TB) {
	t.Helper()
	for _, a := range m.authors {
		for n, l := range a.layers {
			m.put(m.form.layer(n, l), l.Blob)
		}
	}
	for _, x := range slices.Concat(m.oci, m.docker) {
		for n, l := range x.layers {
			if l.Blob != nil {
				m.put(m.form.layer(n, l.Layer), l.Blob)
			}
		}
		m.put(m.configPath(digest.FromBytes(x.config)), x.config)
	}
	if m.form.oci {
		m.put("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
		m.writeIndex(t)
	}
	if m.form.docker {
		items := []imagetest.Item{}
		for _, x := range m.docker {
			item := imagetest.Item{Config: m.configPath(x.configID()), RepoTags: x.names, Layers: []string{}}
			for n, l := range x.layers {
				item.Layers = append(item.Layers, m.form.layer(n, l.Layer))
			}
			items = append(items, item)
		}
		m.putJSON(t, "manifest.json", items)
	}
	for _, fault := range m.faults {
		if spoil := spoilFiles[fault]; spoil != nil {
			spoil(m)
		}
	}
	if m.IntN(3) == 0 {
		slices.Reverse(m.names)
	}
}

func (x *telling) configID() digest.Digest {
	if x.configDigest != "" {
		return x.configDigest
	}
	return digest.FromBytes(x.config)
}

func (m *making) configPath(d digest.Digest) string {
	if m.form.blobs {
		return blobPath(d)
	}
	return d.Encoded() + ".json"
}

func (m *making) writeIndex(t testing.TB) {
	t.Helper()
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []v1.Descriptor{}}
	var children []v1.Descriptor
	for n, x := range m.oci {
		manifest := v1.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2},
			MediaType: v1.MediaTypeImageManifest,
			Config:    v1.Descriptor{MediaType: x.configType, Digest: x.configID(), Size: int64(len(x.config)) + x.moreConfig},
			Layers:    []v1.Descriptor{},
		}
		for _, l := range x.layers {
			manifest.Layers = append(manifest.Layers, v1.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: int64(len(l.Blob)) + l.more, URLs: l.URLs})
		}
		raw := m.putJSON(t, "", manifest)
		d := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromBytes(raw), Size: int64(len(raw)) + x.more}
		if m.form.platforms {
			d.Platform = &v1.Platform{OS: "linux", Architecture: x.of.arch}
		}
		if m.form.platforms && !m.flat {
			if children = append(children, d); n+1 < len(m.oci) && m.oci[n+1].of.name == x.of.name {
				continue
			}
			raw = m.putJSON(t, "", v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: children})
			d = v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
			children = nil
		}
		if len(x.names) == 0 {
			index.Manifests = append(index.Manifests, d)
		}
		for _, name := range x.names {
			if name == byDigest {
				name += d.Digest.String()
			}
			named := d
			named.Annotations = map[string]string{v1.AnnotationRefName: name}
			if isReference(name) {
				named.Annotations = map[string]string{"io.containerd.image.name": name}
			}
			index.Manifests = append(index.Manifests, named)
		}
	}
	m.putJSON(t, "index.json", index)
}

// pack makes the tar.
func (m *making) pack(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	prefix := ""
	if m.IntN(4) == 0 {
		prefix = "./"
	}
	for _, name := range m.names {
		data := m.files[name]
		require.NoError(t, w.WriteHeader(&tar.Header{Name: prefix + name, Mode: 0o644, Size: int64(len(data)), Format: tar.FormatPAX}))
		_, err := w.Write(data)
		require.NoError(t, err)
	}
	end := b.Len()
	require.NoError(t, w.Close())
	if m.cut {
		return b.Bytes()[:m.IntN(end)]
	}
	return b.Bytes()
}
