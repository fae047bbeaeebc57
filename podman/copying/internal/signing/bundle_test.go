package signing_test

import (
	"archive/tar"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/signing"
)

const (
	inToto       = "application/vnd.in-toto+json"
	cosignSigned = "https://sigstore.dev/cosign/sign/v1"
	provenance   = "https://slsa.dev/provenance/v1"
	bundleType   = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// signerOf signs as sigstore does with a kind of key.
type signerOf struct {
	key  crypto.Signer
	hash crypto.Hash // 0 to sign the message itself
}

func (s signerOf) public(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func (s signerOf) sign(t *testing.T, message []byte) []byte {
	t.Helper()
	if s.hash != 0 {
		h := s.hash.New()
		h.Write(message)
		message = h.Sum(nil)
	}
	signed, err := s.key.Sign(rand.Reader, message, s.hash)
	require.NoError(t, err)
	return signed
}

func signersOfAllKinds(t *testing.T) map[string]signerOf {
	t.Helper()
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	rivest, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return map[string]signerOf{
		"P-256":                     {p256, crypto.SHA256},
		"P-384":                     {p384, crypto.SHA384},
		"P-384, as cosign 2 hashes": {p384, crypto.SHA256},
		"ed25519":                   {edwards, 0},
		"RSA":                       {rivest, crypto.SHA256},
	}
}

// statementOf is an attestation of a type about a digest.
func statementOf(d digest.Digest, predicate string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{%q:%q}}],"predicateType":%q,"predicate":{}}`, d.Algorithm(), d.Encoded(), predicate)
}

// envelopeOf signs a payload as DSSE has it.
func envelopeOf(t *testing.T, s signerOf, payloadType string, payload []byte) map[string]any {
	t.Helper()
	message := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
	return map[string]any{"payload": payload, "payloadType": payloadType, "signatures": []any{map[string]any{"sig": s.sign(t, message)}}}
}

func bundleOf(t *testing.T, content map[string]any) []byte {
	t.Helper()
	bundle := map[string]any{"mediaType": bundleType, "verificationMaterial": map[string]any{"publicKey": map[string]string{"hint": "key"}}}
	for key, value := range content {
		bundle[key] = value
	}
	return encode(t, bundle)
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return data
}

// archived is an OCI layout with an image, and layers of referrers to it.
type archived struct {
	files map[string][]byte
	index v1.Index
	image v1.Descriptor
	raw   []byte // its manifest
}

func newArchived(t *testing.T) *archived {
	t.Helper()
	a := &archived{files: map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}}
	a.index.SchemaVersion = 2
	var layer bytes.Buffer
	require.NoError(t, tar.NewWriter(&layer).Close())
	config := v1.Image{Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer.Bytes())}}}
	a.image = a.manifest(t, v1.Manifest{
		Config: a.blob(v1.MediaTypeImageConfig, encode(t, config)),
		Layers: []v1.Descriptor{a.blob(v1.MediaTypeImageLayer, layer.Bytes())},
	})
	a.raw = a.files["blobs/sha256/"+a.image.Digest.Encoded()]
	a.image.Annotations = map[string]string{"io.containerd.image.name": "example.com/app:1", v1.AnnotationRefName: "1"}
	a.index.Manifests = append(a.index.Manifests, a.image)
	return a
}

func (a *archived) blob(mediaType string, data []byte) v1.Descriptor {
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	a.files["blobs/sha256/"+d.Digest.Encoded()] = data
	return d
}

func (a *archived) manifest(t *testing.T, m v1.Manifest) v1.Descriptor {
	t.Helper()
	m.Versioned, m.MediaType = specs.Versioned{SchemaVersion: 2}, v1.MediaTypeImageManifest
	return a.blob(m.MediaType, encode(t, m))
}

// refer adds a referrer of one layer.
func (a *archived) refer(t *testing.T, mediaType string, data []byte) {
	t.Helper()
	subject := v1.Descriptor{MediaType: a.image.MediaType, Digest: a.image.Digest, Size: a.image.Size}
	a.index.Manifests = append(a.index.Manifests, a.manifest(t, v1.Manifest{
		ArtifactType: mediaType, Subject: &subject,
		Config: a.blob(v1.MediaTypeEmptyJSON, []byte("{}")), Layers: []v1.Descriptor{a.blob(mediaType, data)},
	}))
}

func (a *archived) tar(t *testing.T) []byte {
	t.Helper()
	a.files["index.json"] = encode(t, a.index)
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, data := range a.files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644}))
		_, err := w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// A bundle counts if one of the keys has signed its statement about the image.
func TestBundles(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for kind, s := range signersOfAllKinds(t) {
		options := signing.Options{Keys: [][]byte{signerOf{other, crypto.SHA256}.public(t), s.public(t)}}
		attesting := options
		attesting.Attestation = "slsaprovenance1"
		a := newArchived(t)
		d := a.image.Digest
		dsse := func(payload []byte) []byte {
			return bundleOf(t, map[string]any{"dsseEnvelope": envelopeOf(t, s, inToto, payload)})
		}
		message := func(content []byte) []byte {
			sum := digest.FromBytes(content)
			return bundleOf(t, map[string]any{"messageSignature": map[string]any{
				"messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": decodeHex(t, sum)}, "signature": s.sign(t, content),
			}})
		}
		bare := encode(t, envelopeOf(t, s, inToto, statementOf(d, provenance)))
		for name, c := range map[string]struct {
			mediaType        string
			layer            []byte
			signed, attested string // the problems
		}{
			"signed by cosign 3": {bundleType, dsse(statementOf(d, cosignSigned)), "", "no attestation of the type"},
			"message":            {bundleType, message(a.raw), "", "no attestation of the type"},
			"provenance":         {bundleType, dsse(statementOf(d, provenance)), "there is an attestation of the type", ""},
			"cosign 2's":         {"application/vnd.dsse.envelope.v1+json", bare, "there is an attestation of the type", ""},
			"another digest":     {bundleType, dsse(statementOf(digest.FromString("x"), cosignSigned)), "no signature of", "no attestation"},
			"another message":    {bundleType, message([]byte("x")), "none of the keys", "none of the keys"},
			"another payload":    {bundleType, bytes.Replace(dsse(statementOf(d, cosignSigned)), []byte(base64.StdEncoding.EncodeToString([]byte(`{"_type":`))), []byte(base64.StdEncoding.EncodeToString([]byte(`{"_TYPE":`))), 1), "failed to verify signature", "failed to verify"},
			"no statement":       {bundleType, dsse([]byte(`{}`)), "statement of the type", "statement of the type"},
			"no bundle":          {bundleType, []byte(`[]`), "reading the bundle", "reading the bundle"},
		} {
			a := newArchived(t)
			require.Equal(t, d, a.image.Digest)
			a.refer(t, c.mediaType, c.layer)
			data := a.tar(t)
			for _, o := range []struct {
				options signing.Options
				want    string
			}{{options, c.signed}, {attesting, c.attested}} {
				err := problems(t, data, o.options)
				if o.want == "" {
					assert.NoError(t, err, kind+", "+name)
				} else {
					assert.ErrorContains(t, err, o.want, kind+", "+name)
				}
			}
			if c.signed == "" {
				assert.Error(t, problems(t, data, signing.Options{Keys: options.Keys[:1]}), kind+", "+name+", by another key")
			}
		}
	}
}

func decodeHex(t *testing.T, d digest.Digest) []byte {
	t.Helper()
	var data []byte
	_, err := fmt.Sscanf(d.Encoded(), "%x", &data)
	require.NoError(t, err)
	return data
}

// Invalid keys, and types that make no sense, are errors.
func TestOptionsAreChecked(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	good := signerOf{key, crypto.SHA256}.public(t)
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	data := newArchived(t).tar(t)
	for want, o := range map[string]signing.Options{
		"there is no key":                   {},
		"no public key in PEM":              {Keys: [][]byte{[]byte("x")}},
		"more than one block":               {Keys: [][]byte{append(append([]byte{}, good...), good...)}},
		"key 2":                             {Keys: [][]byte{good, signerOf{small, crypto.SHA256}.public(t)}},
		"neither a URI nor one of cosign's": {Keys: [][]byte{good}, Attestation: "provenance"},
		"reading the trusted root":          {Keys: [][]byte{good}, TrustedRoot: []byte("{")},
		`signed as "A"`:                     {Keys: [][]byte{good}, Identity: "A"},
	} {
		err := problems(t, data, o)
		require.ErrorContains(t, err, "verifying signatures")
		assert.ErrorContains(t, err, strings.TrimSpace(want))
	}
}

// A referrer needs no signature, unless a client could run it: its content tells, under
// any name.
func TestReferrersThatRun(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	s := signerOf{key, crypto.SHA256}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "evil", Mode: 0o755}))
	require.NoError(t, w.Close())
	config := encode(t, v1.Image{Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer.Bytes())}}})
	const sbom = "application/spdx+json"
	for name, c := range map[string]struct {
		configType, layerType string
		config, layer         []byte
		runs                  bool
	}{
		"an SBOM":               {v1.MediaTypeEmptyJSON, sbom, []byte("{}"), []byte(`{"spdx":1}`), false},
		"as cosign 2 writes it": {v1.MediaTypeImageConfig, sbom, config, []byte(`{"spdx":1}`), false},
		"files":                 {v1.MediaTypeEmptyJSON, v1.MediaTypeImageLayer, []byte("{}"), layer.Bytes(), false},
		"an image":              {v1.MediaTypeImageConfig, v1.MediaTypeImageLayer, config, layer.Bytes(), true},
		"another layer type":    {v1.MediaTypeImageConfig, sbom, config, layer.Bytes(), true},
		"another config type":   {v1.MediaTypeEmptyJSON, v1.MediaTypeImageLayer, config, layer.Bytes(), true},
		"a plugin":              {"application/vnd.docker.plugin.v1+json", v1.MediaTypeImageLayer, []byte("{}"), layer.Bytes(), true},
		"WebAssembly":           {"application/vnd.wasm.config.v0+json", "application/wasm", []byte("{}"), []byte("\x00asm"), true},
		"a file system":         {v1.MediaTypeImageConfig, "application/vnd.erofs.layer.v1", config, []byte("erofs"), true},
	} {
		a := newArchived(t)
		a.refer(t, bundleType, bundleOf(t, map[string]any{"dsseEnvelope": envelopeOf(t, s, inToto, statementOf(a.image.Digest, cosignSigned))}))
		subject := v1.Descriptor{MediaType: a.image.MediaType, Digest: a.image.Digest, Size: a.image.Size}
		a.index.Manifests = append(a.index.Manifests, a.manifest(t, v1.Manifest{
			ArtifactType: sbom, Subject: &subject, Config: a.blob(c.configType, c.config), Layers: []v1.Descriptor{a.blob(c.layerType, c.layer)},
		}))
		data := a.tar(t)
		r, err := dockerarchive.NewReaderAt(t.Context(), nil, bytes.NewReader(data), int64(len(data)))
		require.NoError(t, err)
		unsigned, err := signing.Verify(t.Context(), r, signing.Options{Keys: [][]byte{s.public(t)}})
		require.NoError(t, err)
		assert.Equal(t, c.runs, len(unsigned) > 0, "%s: %v", name, unsigned)
		require.NoError(t, r.Close())
	}
}
