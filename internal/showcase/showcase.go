// Package showcase has the archives that tests look at through the pages of package
// browsing: a usual one and a malicious one.
package showcase

import (
	"archive/tar"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// File is an entry of a layer.
type File struct {
	Name    string
	Content string
	Size    int // of zeros, if there is no Content
	Link    string
	Type    byte // a regular file if it is 0
	Mode    int64
}

// when is the time of everything.
var when = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

// Layer returns a layer of files, compressed with gzip.
func Layer(t testing.TB, all ...File) Packed {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range all {
		content := []byte(f.Content)
		if f.Size > 0 {
			content = make([]byte, f.Size)
		}
		h := &tar.Header{Name: f.Name, Linkname: f.Link, Typeflag: f.Type, Mode: f.Mode, Size: int64(len(content)), ModTime: when, Format: tar.FormatPAX}
		switch {
		case h.Typeflag == 0 && f.Link != "":
			h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
		case h.Typeflag == 0 && strings.HasSuffix(f.Name, "/"):
			h.Typeflag = tar.TypeDir
		case h.Typeflag == 0:
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write(content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return Pack(t, b.Bytes())
}

// Archive is an archive in the OCI layout that a test makes.
type Archive struct {
	files map[string][]byte
	order []string
	index imgspecv1.Index
}

// NewArchive returns an archive without images.
func NewArchive() *Archive {
	return &Archive{files: map[string][]byte{}, index: imgspecv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}}}
}

func (a *Archive) file(name string, data []byte) {
	if a.files[name] == nil {
		a.order = append(a.order, name)
	}
	a.files[name] = data
}

func (a *Archive) blob(data []byte) digest.Digest {
	d := digest.FromBytes(data)
	a.file("blobs/sha256/"+d.Encoded(), data)
	return d
}

// Blobs adds the blobs of an image.
func (a *Archive) Blobs(t testing.TB, m *Made) {
	t.Helper()
	for _, b := range m.blobs {
		a.blob(b)
	}
	a.blob(m.raw(t))
}

// Add adds an image with names, or without.
func (a *Archive) Add(t testing.TB, m *Made, names ...string) {
	t.Helper()
	a.Blobs(t, m)
	a.list(m.descriptor(t), names...)
}

// AddIndex adds an index of images for platforms.
func (a *Archive) AddIndex(t testing.TB, children []imgspecv1.Descriptor, names ...string) imgspecv1.Descriptor {
	t.Helper()
	index := imgspecv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex, Manifests: children}
	data, err := json.Marshal(index)
	require.NoError(t, err)
	d := imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageIndex, Digest: a.blob(data), Size: int64(len(data))}
	a.list(d, names...)
	return d
}

func (a *Archive) list(d imgspecv1.Descriptor, names ...string) {
	if len(names) == 0 {
		a.index.Manifests = append(a.index.Manifests, d)
	}
	for _, name := range names {
		d.Annotations = map[string]string{"io.containerd.image.name": name}
		a.index.Manifests = append(a.index.Manifests, d)
	}
}

// Bytes returns the archive.
func (a *Archive) Bytes(t testing.TB) []byte {
	t.Helper()
	index, err := json.Marshal(a.index)
	require.NoError(t, err)
	a.file("index.json", index)
	a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range a.order {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(a.files[name]))}))
		_, err := w.Write(a.files[name])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// Image returns an image for an architecture. made has the step that made each of its
// layers.
func Image(t testing.TB, architecture string, labels map[string]string, made []string, layers ...Packed) *Made {
	t.Helper()
	config := imgspecv1.Image{Created: &when}
	config.OS, config.Architecture = "linux", architecture
	config.Config = imgspecv1.ImageConfig{
		User: "1000:1000", WorkingDir: "/srv", Entrypoint: []string{"/usr/bin/shop", "serve"}, Cmd: []string{"--listen", ":8080"},
		Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"}, ExposedPorts: map[string]struct{}{"8080/tcp": {}}, Labels: labels,
	}
	config.RootFS.Type = "layers"
	var blobs [][]byte
	for i, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
		config.History = append(config.History, imgspecv1.History{Created: &when, CreatedBy: made[i]})
		blobs = append(blobs, l.Blob)
	}
	return newMade(t, config, imgspecv1.MediaTypeImageConfig, imgspecv1.MediaTypeImageLayerGzip, blobs...)
}

// certificate returns one as Fulcio issues it.
func certificate(t testing.TB, identity, issuer string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	who, err := url.Parse(identity)
	require.NoError(t, err)
	value, err := asn1.MarshalWithParams(issuer, "utf8")
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{}, NotBefore: when, NotAfter: when.Add(10 * time.Minute), URIs: []*url.URL{who},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: value}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return der
}

// Signer is the signer of the image in Shop, by its certificate.
const Signer = "https://github.com/example/shop/.github/workflows/release.yml@refs/heads/main"

// Shop returns an archive as people have it: an application for two platforms in two
// versions, with a signature and two SBOMs.
func Shop(t testing.TB) []byte {
	t.Helper()
	a := NewArchive()
	source := map[string]string{"org.opencontainers.image.source": "https://github.com/example/shop", "org.opencontainers.image.licenses": "Apache-2.0", "org.opencontainers.image.title": "shop"}
	made := []string{"ADD rootfs.tar.xz / # buildkit", "RUN /bin/sh -c apt-get update && apt-get install -y --no-install-recommends ca-certificates tzdata # buildkit", "COPY shop /usr/bin/shop # buildkit", "COPY assets /srv/assets # buildkit", "RUN /bin/sh -c rm -rf /var/lib/apt/lists /usr/share/doc # buildkit"}
	base := Layer(t, rootfs()...)
	packages := Layer(t,
		File{Name: "etc/ssl/certs/"}, File{Name: "etc/ssl/certs/ca-certificates.crt", Size: 220_000},
		File{Name: "usr/share/zoneinfo/"}, File{Name: "usr/share/zoneinfo/tzdata.zi", Size: 107_000}, File{Name: "usr/share/zoneinfo/UTC", Size: 114},
		File{Name: "var/lib/apt/lists/"}, File{Name: "var/lib/apt/lists/deb.example.org_dists_stable_main_Packages", Size: 1_900_000},
		File{Name: "var/lib/dpkg/status", Content: "Package: tzdata\nStatus: install ok installed\n"})
	layers := func(version string, size int) []Packed {
		return []Packed{
			base, packages,
			Layer(t, File{Name: "usr/bin/shop", Size: size, Mode: 0o755}, File{Name: "etc/shop.conf", Content: "# Settings of the shop.\nversion = " + version + "\nlisten = :8080\n"}),
			Layer(t, File{Name: "srv/assets/"}, File{Name: "srv/assets/app.js", Size: 412_000}, File{Name: "srv/assets/style.css", Size: 38_000}, File{Name: "srv/assets/logo.svg", Content: `<svg xmlns="http://www.w3.org/2000/svg"/>`}),
			Layer(t, File{Name: "var/lib/apt/.wh.lists"}, File{Name: "usr/share/.wh.doc"}),
		}
	}
	old := Image(t, "amd64", source, made, layers("1.4", 5_200_000)...)
	a.Add(t, old, "registry.example.com/team/shop:1.4")
	var children []imgspecv1.Descriptor
	var amd64 *Made
	for _, architecture := range []string{"amd64", "arm64"} {
		m := Image(t, architecture, source, made, layers("1.5", 6_100_000)...)
		if architecture == "amd64" {
			amd64 = m
		}
		a.Blobs(t, m)
		d := m.descriptor(t)
		d.Platform = &imgspecv1.Platform{OS: "linux", Architecture: architecture}
		children = append(children, d)
	}
	a.AddIndex(t, children, "registry.example.com/team/shop:1.5", "registry.example.com/team/shop:latest")
	a.Add(t, Image(t, "amd64", nil, made[:2], base, packages), "docker.io/library/base:12")
	subject := amd64.descriptor(t)
	signature := artifact(t, "application/vnd.dev.sigstore.bundle.v0.3+json", bundle(t), &subject)
	a.Add(t, signature)
	a.Add(t, artifact(t, "application/spdx+json", SPDX, &subject))
	a.Add(t, artifact(t, "application/vnd.cyclonedx+json", CycloneDX, &subject))
	return a.Bytes(t)
}

// bundle is a signature as Sigstore's clients store it, with the parts that name its
// signer.
func bundle(t testing.TB) string {
	t.Helper()
	data, err := json.Marshal(map[string]any{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": map[string]any{
		"certificate": map[string]any{"rawBytes": certificate(t, Signer, "https://token.actions.githubusercontent.com")},
	}})
	require.NoError(t, err)
	return string(data)
}

// CertificatePEM returns a certificate as cosign 2 has it in an annotation.
func CertificatePEM(t testing.TB, identity, issuer string) string {
	t.Helper()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate(t, identity, issuer)}))
}

// SBOMs of two packages.
const (
	SPDX      = `{"spdxVersion":"SPDX-2.3","name":"shop","packages":[{"name":"tzdata","versionInfo":"2026a-1","licenseConcluded":"NOASSERTION","licenseDeclared":"LicenseRef-public-domain"},{"name":"ca-certificates","versionInfo":"20260101","licenseConcluded":"MPL-2.0"}],"files":[{"fileName":"/etc/shop.conf"}]}`
	CycloneDX = `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"golang.org/x/net","version":"v0.50.0","licenses":[{"license":{"id":"BSD-3-Clause"}}]},{"type":"operating-system","name":"debian","version":"12"}]}`
)

// rootfs is something like a Debian.
func rootfs() []File {
	all := []File{
		{Name: "bin", Link: "usr/bin"}, {Name: "lib", Link: "usr/lib"}, {Name: "etc/"}, {Name: "usr/"}, {Name: "usr/bin/"}, {Name: "usr/lib/"}, {Name: "usr/share/"}, {Name: "var/"}, {Name: "tmp/", Mode: 0o1777},
		{Name: "etc/os-release", Content: "PRETTY_NAME=\"Demo Linux 12\"\nNAME=\"Demo Linux\"\nVERSION_ID=\"12\"\nHOME_URL=\"https://example.org/\"\n"},
		{Name: "etc/passwd", Content: "root:x:0:0:root:/root:/bin/sh\nshop:x:1000:1000::/srv:/usr/sbin/nologin\n"},
		{Name: "usr/bin/bash", Size: 1_265_000, Mode: 0o755}, {Name: "usr/bin/perl", Size: 3_800_000, Mode: 0o755}, {Name: "usr/bin/passwd", Size: 68_000, Mode: 0o4755},
		{Name: "usr/bin/sh", Link: "bash"},
		{Name: "usr/lib/x86_64-linux-gnu/"}, {Name: "usr/lib/locale/"}, {Name: "usr/lib/locale/C.utf8", Size: 360_000},
		{Name: "usr/share/doc/"}, {Name: "usr/share/doc/copyright", Size: 900_000}, {Name: "usr/share/perl/"}, {Name: "usr/share/perl/unicore.pl", Size: 1_400_000},
		{Name: "var/lib/"}, {Name: "var/lib/dpkg/"}, {Name: "var/lib/dpkg/status", Size: 130_000}, {Name: "var/cache/"}, {Name: "dev/"}, {Name: "dev/null", Type: tar.TypeChar, Mode: 0o666},
	}
	for i, lib := range []string{"libc.so.6", "libcrypto.so.3", "libstdc++.so.6", "libssl.so.3", "libm.so.6", "libgnutls.so.30", "libunistring.so.2", "libdb-5.3.so", "libsystemd.so.0", "libpcre2-8.so.0"} {
		all = append(all, File{Name: "usr/lib/x86_64-linux-gnu/" + lib, Size: 2_400_000 / (i + 1), Mode: 0o755})
	}
	return all
}

// Script must not run, wherever it comes from. Title is the title of a page once it
// has.
const (
	Script = `<script>document.title="pwned"</script>`
	Image0 = `"><img src=x onerror='document.title="pwned"'>`
	Title  = "pwned"
)

// Hostile returns an archive that has scripts, and characters that turn text around,
// in every text that people write.
func Hostile(t testing.TB) []byte {
	t.Helper()
	a := NewArchive()
	labels := map[string]string{
		Script: Image0, "org.opencontainers.image.url": "javascript:document.title='pwned'", "org.opencontainers.image.source": "https://example.com/" + Script,
		"data": "data:text/html," + Script, "bidi": "abc\u202e" + "gpj.exe", "escape": "\x1b]0;pwned\x07",
	}
	svg := `<svg xmlns="http://www.w3.org/2000/svg" onload="document.title='pwned'"><script>document.title="pwned"</script></svg>`
	layer := Layer(t,
		File{Name: Script[:8] + "/"}, File{Name: strings.ReplaceAll(Script, "/", "_"), Content: Script}, File{Name: "x" + Image0, Content: Image0},
		File{Name: "page.html", Content: "<!doctype html>" + Script}, File{Name: "image.svg", Content: svg}, File{Name: "bidi\u202egpj.exe", Content: "a\u202eb\x1b[31mred"},
		File{Name: "link", Link: Image0}, File{Name: "loop", Link: "loop"}, File{Name: "percent%2e%2e%2fname?q#f", Content: "odd name"},
		File{Name: "bytes\xff\xfe", Content: "not UTF-8 in name"}, File{Name: "back\\slash", Content: "backslash"},
		File{Name: "fifo", Type: tar.TypeFifo}, File{Name: "empty"},
		File{Name: "a:b", Content: "colon"}, File{Name: "new\nline", Content: "line"}, File{Name: "binary", Content: "\x00\x01"})
	m := Image(t, "amd64", labels, []string{"RUN echo " + Script + Image0}, layer)
	m.Manifest.Annotations = labels
	a.Add(t, m, "example.com/hostile:1")
	subject := m.descriptor(t)
	a.Add(t, artifact(t, "application/"+Script, Script, &subject))
	a.Add(t, artifact(t, "application/spdx+json", fmt.Sprintf(`{"spdxVersion":%q,"packages":[{"name":%q,"versionInfo":%q}]}`, Script, Script, Image0), &subject))
	return a.Bytes(t)
}
