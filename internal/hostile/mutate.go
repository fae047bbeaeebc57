package hostile

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

var mediaTypes = []string{
	v1.MediaTypeImageManifest, v1.MediaTypeImageIndex, image.DockerManifest, image.DockerList, v1.MediaTypeImageConfig, image.DockerConfig,
	v1.MediaTypeImageLayer, v1.MediaTypeImageLayerGzip, v1.MediaTypeImageLayerZstd, image.DockerLayer, image.DockerLayerGzip,
	"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", v1.MediaTypeImageLayerGzip + "+encrypted", v1.MediaTypeEmptyJSON,
	"application/vnd.docker.distribution.manifest.v1+json", "text/html", "", "application/vnd.dev.cosign.simplesigning.v1+json",
}

// odd are values that may stand anywhere.
var odd = []any{
	nil, true, 0, -1, int64(1 << 62), 1.5, "", "x", ":", "sha256", "sha256:", "sha256:x", "md5:d41d8cd98f00b204e9800998ecf8427e",
	"sha512:" + strings.Repeat("a", 128), "SHA256:" + strings.Repeat("A", 64), "../../etc/passwd", "/etc/passwd", ".", "manifest.json",
	"\x1b[2J", "\u202e", strings.Repeat("x", 5000), []any{}, map[string]any{}, []any{nil}, map[string]any{"": nil}, []any{map[string]any{}},
}

// mutate returns a value with one part changed.
func (m *maker) mutate(v any, depth int) any {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 || depth > 0 && m.rarely(4) {
			break
		}
		changed := maps.Clone(v)
		keys := slices.Sorted(maps.Keys(v))
		key := keys[m.upTo(len(keys))]
		switch m.upTo(6) {
		case 4:
			delete(changed, key)
		case 5:
			changed[keys[m.upTo(len(keys))]] = v[key]
		default:
			changed[key] = m.mutate(v[key], depth+1)
		}
		return changed
	case []any:
		if len(v) == 0 || depth > 0 && m.rarely(4) {
			break
		}
		changed := slices.Clone(v)
		i, j := m.upTo(len(v)), m.upTo(len(v))
		switch m.upTo(6) {
		case 3:
			return slices.Delete(changed, i, i+1)
		case 4:
			changed[i], changed[j] = changed[j], changed[i]
			return changed
		case 5:
			return append(changed, slices.Repeat([]any{v[i]}, 1+m.upTo(100))...)
		}
		changed[i] = m.mutate(v[i], depth+1)
		return changed
	}
	switch m.upTo(4) {
	case 1:
		return m.anyDigest().String()
	case 2:
		return mediaTypes[m.upTo(len(mediaTypes))]
	case 3:
		return blobPath(m.anyDigest())
	}
	return odd[m.upTo(len(odd))]
}

// layer returns one of a few layers in one of many forms.
func (m *maker) layer(n int) layer {
	content := tarOf(fmt.Sprintf("file-%d-%d", n, m.upTo(4)))
	l := layer{data: content, diffID: digest.FromBytes(content), mediaType: v1.MediaTypeImageLayer}
	switch m.upTo(20) {
	case 1, 2, 3, 4, 5, 6:
		l.data, l.mediaType = gzipped(content), v1.MediaTypeImageLayerGzip
	case 7, 8:
		l.data, l.mediaType = zstandard.EncodeAll(content, nil), v1.MediaTypeImageLayerZstd
	case 9: // With a wrong checksum.
		l.data, l.mediaType = gzipped(content), v1.MediaTypeImageLayerGzip
		l.data[len(l.data)-8] ^= 1
	case 10:
		l.data, l.mediaType = append(gzipped(content), "behind the end"...), v1.MediaTypeImageLayerGzip
	case 11:
		l.data, l.mediaType = gzipped(content)[:40], v1.MediaTypeImageLayerGzip
	case 12:
		l.data, l.mediaType = nil, v1.MediaTypeImageLayerGzip
	case 13:
		l.data = []byte("no tar")
		l.diffID = digest.FromBytes(l.data)
	case 14: // A diff ID that is that of the layer as it is compressed.
		l.data, l.mediaType = gzipped(content), v1.MediaTypeImageLayerGzip
		l.diffID = digest.FromBytes(l.data)
	case 15:
		l.mediaType = v1.MediaTypeImageLayerGzip
	case 16:
		l.data = gzipped(content)
	case 17:
		l.data, l.mediaType = append(gzipped(content[:512]), gzipped(content[512:])...), v1.MediaTypeImageLayerGzip
	case 18:
		l.data = []byte{}
		l.diffID = digest.FromBytes(l.data)
	}
	return l
}

// tarOf returns a layer's tar.
func tarOf(name string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	check(w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(name))}))
	_, err := w.Write([]byte(name))
	check(err)
	check(w.Close())
	return b.Bytes()
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	check(err)
	check(w.Close())
	return b.Bytes()
}

// zstandard is the one encoder: each has its own large tables.
var zstandard = func() *zstd.Encoder {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	check(err)
	return w
}()

// check is for calls that cannot fail.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// tar returns the archive, perhaps with entries that are not the usual ones.
func (m *maker) tar() []byte {
	for range m.mutations() {
		m.disturb()
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range m.entries {
		h := &tar.Header{Typeflag: e.kind, Name: e.name, Linkname: e.link, Mode: 0o644, Size: int64(len(e.data))}
		if e.kind != tar.TypeReg {
			h.Size = 0
		}
		if w.WriteHeader(h) != nil {
			continue // tar cannot write some entries, such as a name with a zero byte.
		}
		if h.Size > 0 {
			_, err := w.Write(e.data)
			check(err)
		}
	}
	check(w.Close())
	data := b.Bytes()
	switch m.upTo(40) {
	case 38:
		return data[:len(data)-1024]
	case 39:
		return data[:m.upTo(256)*len(data)/256]
	}
	return data
}

// disturb changes an entry.
func (m *maker) disturb() {
	i := m.upTo(len(m.entries))
	e := m.entries[i]
	switch m.upTo(9) {
	case 0: // The same name twice, with another content.
		other := e
		other.data = m.entries[m.upTo(len(m.entries))].data
		m.entries = append(m.entries, other)
	case 1:
		other := e
		other.name, other.data = "./"+e.name, m.entries[m.upTo(len(m.entries))].data
		m.entries = append(m.entries, other)
	case 2:
		m.entries[i].name = "./" + e.name
	case 3:
		m.entries[i] = entry{name: e.name, kind: tar.TypeSymlink, link: m.entries[m.upTo(len(m.entries))].name}
	case 4:
		m.entries[i] = entry{name: e.name, kind: tar.TypeLink, link: m.entries[m.upTo(len(m.entries))].name}
	case 5:
		m.entries[i] = entry{name: e.name + "/", kind: tar.TypeDir}
	case 6:
		m.entries[i].data = m.entries[m.upTo(len(m.entries))].data
	case 7:
		m.entries = slices.Delete(m.entries, i, i+1)
	case 8:
		m.entries = slices.Insert(m.entries, 0, entry{name: "../../" + e.name, kind: tar.TypeReg})
	}
	if len(m.entries) == 0 {
		m.file("empty", nil)
	}
}
