// Package hostile makes image archives for tests that no tool would write: their digests
// are right, so that readers get past those, but the content is wrong. An archive follows
// from a string of bytes. Each byte decides one thing; a byte that is 0, or missing,
// decides for the usual. So a fuzzer can search for archives.
package hostile

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Archive returns the archive that decisions make.
func Archive(decisions []byte) []byte {
	m := &maker{choices: choices{rest: decisions}}
	kind := m.upTo(4)
	for range 1 + m.upTo(3) {
		m.image(kind)
	}
	switch kind {
	case 0:
		m.index()
		m.manifestJSON()
	case 1:
		m.index()
	case 2:
		m.manifestJSON()
		m.repositories()
	case 3:
		m.repositories()
	}
	return m.tar()
}

// choices are decisions that are made one after the other.
type choices struct{ rest []byte }

// upTo returns one of the numbers below n, which is at most 256; usually 0.
func (c *choices) upTo(n int) int {
	if len(c.rest) == 0 {
		return 0
	}
	b := c.rest[0]
	c.rest = c.rest[1:]
	return int(b) % n
}

// rarely returns true once in n times.
func (c *choices) rarely(n int) bool { return c.upTo(n) == n-1 }

// entry is an entry of the archive.
type entry struct {
	name, link string
	kind       byte
	data       []byte
}

// maker makes one archive.
type maker struct {
	choices
	entries []entry
	blobs   map[digest.Digest]bool
	digests []digest.Digest // of all blobs, in their order
	listed  []any           // descriptors of index.json
	items   []any           // of manifest.json
	tops    map[string]any  // of repositories
}

// file adds an entry.
func (m *maker) file(name string, data []byte) {
	m.entries = append(m.entries, entry{name: name, kind: tar.TypeReg, data: data})
}

// blob adds a blob of an OCI layout, and returns its digest.
func (m *maker) blob(data []byte) digest.Digest {
	algorithm := digest.SHA256
	if m.rarely(40) {
		algorithm = digest.SHA512
	}
	d := algorithm.FromBytes(data)
	if m.blobs == nil {
		m.blobs = map[digest.Digest]bool{}
	}
	if !m.blobs[d] {
		m.blobs[d] = true
		m.digests = append(m.digests, d)
		if !m.rarely(24) { // Some are not there.
			m.file("blobs/"+algorithm.String()+"/"+d.Encoded(), data)
		}
	}
	return d
}

// layer is a layer as it is stored.
type layer struct {
	data      []byte
	diffID    digest.Digest
	mediaType string
}

// platforms are those that images are for.
var platforms = []*v1.Platform{
	{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64", Variant: "v8"}, nil,
	{OS: image.UnknownPlatform, Architecture: image.UnknownPlatform}, {OS: "\x1b[31m", Architecture: "\u202e"},
}

// image adds an image of an archive of some kind.
func (m *maker) image(kind int) {
	n := len(m.items) + len(m.listed)
	var layers []layer
	for range 1 + m.upTo(3) {
		layers = append(layers, m.layer(n))
	}
	platform := platforms[m.upTo(len(platforms))]
	config := m.config(layers, platform)
	switch kind {
	case 3:
		m.legacy(n, layers)
	case 2:
		m.docker(n, layers, config)
	default:
		m.oci(n, layers, config, platform)
	}
}

func (m *maker) config(layers []layer, platform *v1.Platform) []byte {
	ids := []any{}
	for _, l := range layers {
		ids = append(ids, l.diffID.String())
	}
	config := map[string]any{"config": map[string]any{}, "rootfs": map[string]any{"type": "layers", "diff_ids": ids}, "history": []any{map[string]any{"created_by": "x"}}}
	if platform != nil {
		config["os"], config["architecture"] = platform.OS, platform.Architecture
	}
	return m.document(config)
}

// name returns one of the names that images have.
func (m *maker) name(n int) string {
	names := []string{
		fmt.Sprintf("docker.io/library/app:%d", n), "docker.io/library/app:0", "app", "", "free_NAME", "[2001:db8::1]:5000/app:1",
		"example.com/app:sha256-" + someDigest.Encoded() + ".sig", "example.com/app@" + someDigest.String(), "A/../b:\x1b]0;x\a", "a:b:c",
	}
	return names[m.upTo(len(names))]
}

var someDigest = digest.FromString("something")

// oci adds an image of an OCI layout, perhaps in indexes.
func (m *maker) oci(n int, layers []layer, config []byte, platform *v1.Platform) {
	docker := m.rarely(3)
	configType, manifestType, indexType := v1.MediaTypeImageConfig, v1.MediaTypeImageManifest, v1.MediaTypeImageIndex
	if docker {
		configType, manifestType, indexType = image.DockerConfig, image.DockerManifest, image.DockerList
	}
	var paths, described []any
	for _, l := range layers {
		d := m.blob(l.data)
		described = append(described, m.descriptor(l.mediaType, d, len(l.data)))
		paths = append(paths, blobPath(d))
	}
	manifest := map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": m.descriptor(configType, m.blob(config), len(config)), "layers": described}
	if m.rarely(8) {
		manifest["subject"] = m.descriptor(manifestType, m.anyDigest(), 7)
	}
	configDigest := digest.FromBytes(config)
	raw := m.document(manifest)
	top := m.descriptor(manifestType, m.blob(raw), len(raw))
	if platform != nil {
		top["platform"] = map[string]any{"os": platform.OS, "architecture": platform.Architecture, "variant": platform.Variant}
	}
	for range m.upTo(4) {
		children := []any{top}
		for range m.upTo(4) {
			children = append(children, m.anyListed(top))
		}
		raw = m.document(map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": children})
		top = m.descriptor(indexType, m.blob(raw), len(raw))
	}
	name := m.name(n)
	if name != "" {
		top["annotations"] = map[string]any{"io.containerd.image.name": name, v1.AnnotationRefName: m.name(n)}
	}
	m.listed = append(m.listed, top)
	m.items = append(m.items, map[string]any{"Config": blobPath(configDigest), "RepoTags": []any{name}, "Layers": paths})
}

// docker adds an image of manifest.json alone.
func (m *maker) docker(n int, layers []layer, config []byte) {
	var names []any
	for _, l := range layers {
		name := l.diffID.Encoded() + ".tar"
		m.file(name, l.data)
		names = append(names, name)
	}
	name := digest.FromBytes(config).Encoded() + ".json"
	m.file(name, config)
	m.items = append(m.items, map[string]any{"Config": name, "RepoTags": []any{m.name(n)}, "Layers": names})
}

// legacy adds an image as Docker before 1.10 had it.
func (m *maker) legacy(n int, layers []layer) {
	parent := ""
	for _, l := range layers {
		id := l.diffID.Encoded()
		config := map[string]any{"id": id, "created": "2015-01-01T00:00:00Z", "config": map[string]any{}}
		if parent != "" {
			config["parent"] = parent
		}
		m.file(id+"/VERSION", []byte("1.0"))
		m.file(id+"/json", m.document(config))
		m.file(id+"/layer.tar", l.data)
		parent = id
	}
	if m.tops == nil {
		m.tops = map[string]any{}
	}
	m.tops[fmt.Sprintf("app%d", n)] = map[string]any{"1": parent}
}

func blobPath(d digest.Digest) string { return "blobs/" + d.Algorithm().String() + "/" + d.Encoded() }

// anyDigest returns the digest of a blob, or of none.
func (m *maker) anyDigest() digest.Digest {
	if len(m.digests) == 0 || m.rarely(4) {
		return someDigest
	}
	return m.digests[m.upTo(len(m.digests))]
}

// anyListed returns what an index lists beside an image.
func (m *maker) anyListed(top map[string]any) any {
	switch m.upTo(4) {
	case 0:
		return top
	case 1:
		return m.descriptor(v1.MediaTypeImageManifest, someDigest, 100)
	case 2:
		d := m.descriptor(v1.MediaTypeImageManifest, m.anyDigest(), 100)
		d["annotations"] = map[string]any{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": m.anyDigest().String()}
		return d
	}
	return m.descriptor(v1.MediaTypeImageIndex, m.anyDigest(), 100)
}

func (m *maker) descriptor(mediaType string, d digest.Digest, size int) map[string]any {
	descriptor := map[string]any{"mediaType": mediaType, "digest": d.String(), "size": size}
	switch m.upTo(64) {
	case 60:
		descriptor["size"] = size + 1
	case 61:
		descriptor["urls"] = []any{"https://example.com/x"}
	case 62:
		descriptor["data"] = "aGVsbG8="
	case 63:
		descriptor["mediaType"] = mediaTypes[m.upTo(len(mediaTypes))]
	}
	return descriptor
}

func (m *maker) index() {
	index := map[string]any{"schemaVersion": 2, "mediaType": v1.MediaTypeImageIndex, "manifests": m.listed}
	if m.rarely(8) {
		index["annotations"] = map[string]any{image.AnnotationLeftOut: fmt.Sprintf(`[{"archive":"old.tar","blobs":[%q]}]`, m.anyDigest())}
	}
	m.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	m.file("index.json", m.document(index))
}

func (m *maker) manifestJSON() { m.file("manifest.json", m.document(m.items)) }

func (m *maker) repositories() {
	if m.tops == nil {
		m.tops = map[string]any{}
	}
	m.file("repositories", m.document(m.tops))
}

// document returns the JSON of a value, perhaps of another one.
func (m *maker) document(v any) []byte {
	for range m.mutations() {
		v = m.mutate(v, 0)
	}
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // It is made of what has a JSON.
	}
	if m.rarely(64) {
		data = m.distort(data)
	}
	return data
}

// mutations returns how often a document is changed: usually not at all.
func (m *maker) mutations() int {
	return [...]int{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2}[m.upTo(12)]
}

// distort returns JSON that is not the usual one.
func (m *maker) distort(data []byte) []byte {
	switch m.upTo(6) {
	case 0:
		return bytes.Replace(data, []byte("{"), []byte(`{"config":null,"layers":[],"manifests":[],`), 1)
	case 1:
		return bytes.ToUpper(data)
	case 2:
		return append(data, data...)
	case 3:
		return data[:len(data)/2]
	case 4:
		return bytes.ReplaceAll(data, []byte(`"config"`), []byte(`"CONFIG"`))
	}
	return append([]byte("\xef\xbb\xbf"), data...)
}
