// Package forging makes archives of signed images, and variants that somebody without the
// key could make of them. It is for tests.
package forging

import (
	"archive/tar"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// Repository is what the images of Archives are signed as.
const Repository = "example.com/app"

// A Variant is an archive that somebody without the key has changed.
type Variant struct {
	Name string
	Data []byte
}

// A Signed is an archive whose image is signed, and its variants.
type Signed struct {
	Good     []byte
	Public   []byte                 // key
	Configs  map[digest.Digest]bool // of the images that are signed
	Inert    map[digest.Digest]bool // configs of what no client runs
	Variants []Variant
}

// Archives returns archives of a signed image and, for each, variants with an unsigned
// image: swapped in, added, renamed, in each document and for each client.
func Archives(t testing.TB) []Signed {
	t.Helper()
	var all []Signed
	for _, index := range []bool{false, true} {
		for _, children := range []bool{false, true} {
			if children && !index {
				continue
			}
			f := newForger(t, index, children)
			s := Signed{Good: f.tar(t, f.good()), Public: f.public, Configs: f.configs, Inert: map[digest.Digest]bool{}}
			for _, signature := range f.signatures {
				s.Inert[signature.config.Digest] = true
			}
			for _, change := range forgeries(f) {
				files := f.good()
				change.do(files)
				name := fmt.Sprintf("index=%t children=%t/%s", index, children, change.name)
				s.Variants = append(s.Variants, Variant{name, f.tar(t, files)})
			}
			all = append(all, s)
		}
	}
	return all
}

// content is what is to be in an archive: files in an order, perhaps several of one name.
type content struct {
	entries []contentEntry
}

type contentEntry struct {
	name, link string
	data       []byte
}

func (c *content) get(name string) []byte {
	for _, e := range c.entries {
		if e.name == name {
			return e.data
		}
	}
	return nil
}

func (c *content) set(name string, data []byte) {
	c.remove(name)
	c.entries = append(c.entries, contentEntry{name: name, data: data})
}

func (c *content) remove(name string) {
	c.entries = slices.DeleteFunc(c.entries, func(e contentEntry) bool { return e.name == name })
}

// forged is an image as documents.
type forged struct {
	layer, config, manifest v1.Descriptor
	blobs                   map[digest.Digest][]byte
	item                    map[string]any // of manifest.json
}

// forger makes variants of one archive.
type forger struct {
	key         *ecdsa.PrivateKey
	public      []byte
	one, two    forged // for this platform, and another
	evil        forged
	index       v1.Descriptor // zero if there is none
	indexData   []byte
	signatures  []forged
	configs     map[digest.Digest]bool
	descriptors []v1.Descriptor // of index.json
}

func newForger(t testing.TB, index, children bool) *forger {
	t.Helper()
	f := &forger{configs: map[digest.Digest]bool{}}
	f.key, f.public = newKey(t)
	f.one, f.evil = f.forge(t, "one", runtime.GOARCH), f.forge(t, "evil", runtime.GOARCH)
	f.two = f.forge(t, "two", "s390x")
	f.configs[f.one.config.Digest] = true
	top := f.one.manifest
	var signed []digest.Digest
	if index {
		f.configs[f.two.config.Digest] = true
		f.indexData = encodeIndex(t, f.one.manifest, f.two.manifest)
		f.index = describe(v1.MediaTypeImageIndex, f.indexData)
		top = f.index
		if children {
			signed = []digest.Digest{f.one.manifest.Digest, f.two.manifest.Digest}
		}
	}
	if signed == nil {
		signed = []digest.Digest{top.Digest}
	}
	top.Platform = nil
	f.descriptors = []v1.Descriptor{Named(top, Repository+":1")}
	for _, d := range signed {
		s := f.sign(t, d)
		f.signatures = append(f.signatures, s)
		descriptor := s.manifest
		descriptor.Annotations = map[string]string{
			"io.containerd.manifest.subject": d.String(),
			"io.github.dockerarchive.tag":    Repository + ":" + strings.Replace(d.String(), ":", "-", 1) + ".sig",
		}
		f.descriptors = append(f.descriptors, descriptor)
	}
	return f
}

// Named returns a descriptor with a full name, as Docker and containerd write it.
func Named(d v1.Descriptor, name string) v1.Descriptor {
	d.Annotations = map[string]string{"io.containerd.image.name": name, v1.AnnotationRefName: name[strings.LastIndexByte(name, ':')+1:]}
	return d
}

func describe(mediaType string, data []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return data
}

func encodeIndex(t testing.TB, manifests ...v1.Descriptor) []byte {
	t.Helper()
	index := v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: manifests}
	index.SchemaVersion = 2
	return encode(t, index)
}

func newKey(t testing.TB) (key *ecdsa.PrivateKey, public []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	return key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// sign returns a signature as cosign 2 stores it.
func (f *forger) sign(t testing.TB, d digest.Digest) forged {
	t.Helper()
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, Repository, d)
	hash := sha256.Sum256(payload)
	signed, err := ecdsa.SignASN1(rand.Reader, f.key, hash[:])
	require.NoError(t, err)
	layer := describe("application/vnd.dev.cosign.simplesigning.v1+json", payload)
	layer.Annotations = map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(signed)}
	config := v1.Image{RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}}}
	return f.document(t, config, layer, payload)
}

// document makes the manifest of a config and a layer.
func (f *forger) document(t testing.TB, config v1.Image, layer v1.Descriptor, data []byte) forged {
	t.Helper()
	configData := encode(t, config)
	i := forged{layer: layer, config: describe(v1.MediaTypeImageConfig, configData)}
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: i.config, Layers: []v1.Descriptor{layer}}
	m.SchemaVersion = 2
	manifest := encode(t, m)
	i.manifest = describe(v1.MediaTypeImageManifest, manifest)
	i.blobs = map[digest.Digest][]byte{layer.Digest: data, i.config.Digest: configData, i.manifest.Digest: manifest}
	return i
}

// forge makes an image whose only layer has one file.
func (f *forger) forge(t testing.TB, text, arch string) forged {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "file", Size: int64(len(text)), Mode: 0o644}))
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	diffID := digest.FromBytes(layer.Bytes())
	config := v1.Image{Platform: v1.Platform{OS: "linux", Architecture: arch}, RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}}}
	config.Config.Cmd = []string{"/" + text}
	i := f.document(t, config, describe(v1.MediaTypeImageLayer, layer.Bytes()), layer.Bytes())
	i.manifest.Platform = &config.Platform
	i.item = map[string]any{"Config": blobPath(i.config.Digest), "RepoTags": []string{Repository + ":1"}, "Layers": []string{blobPath(i.layer.Digest)}}
	return i
}

func blobPath(d digest.Digest) string { return "blobs/sha256/" + d.Encoded() }

// good returns the archive that is signed. The blobs of the other image are there too: to
// have them costs an attacker nothing.
func (f *forger) good() *content {
	c := &content{}
	c.set("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	images := append([]forged{f.one, f.evil}, f.signatures...)
	if f.indexData != nil {
		images = append(images, f.two)
		c.set(blobPath(f.index.Digest), f.indexData)
	}
	for _, i := range images {
		for _, d := range slices.Sorted(maps.Keys(i.blobs)) {
			c.set(blobPath(d), i.blobs[d])
		}
	}
	f.setIndex(c, f.descriptors...)
	f.setItems(c, f.one.item)
	return c
}

func (f *forger) setIndex(c *content, manifests ...v1.Descriptor) {
	index := v1.Index{Manifests: manifests}
	index.SchemaVersion = 2
	data, err := json.Marshal(index)
	if err != nil {
		panic(err) // It is made of strings.
	}
	c.set("index.json", data)
}

func (f *forger) setItems(c *content, items ...map[string]any) {
	data, err := json.Marshal(items)
	if err != nil {
		panic(err) // It is made of strings.
	}
	c.set("manifest.json", data)
}

// tar writes an archive.
func (f *forger) tar(t testing.TB, c *content) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range c.entries {
		h := &tar.Header{Name: e.name, Size: int64(len(e.data)), Mode: 0o644}
		if e.link != "" {
			h = &tar.Header{Name: e.name, Linkname: e.link, Typeflag: tar.TypeSymlink, Mode: 0o777}
		}
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write(e.data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}
