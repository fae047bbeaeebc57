package imagetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// Descriptor describes the manifest.
func (m *Image) Descriptor() v1.Descriptor {
	return v1.Descriptor{MediaType: m.MIMEType, Digest: m.Digest(), Size: int64(len(m.Raw))}
}

// NewArtifact returns an artifact of one file, which is about subject unless that is nil.
func NewArtifact(t testing.TB, artifactType, content string, subject *v1.Descriptor) *Image {
	t.Helper()
	m := NewImageOfConfig(t, struct{}{}, NewLayer(nil, []byte(content), artifactType))
	m.Manifest.ArtifactType, m.Manifest.Subject = artifactType, subject
	m.Manifest.Config.MediaType = v1.MediaTypeEmptyJSON
	m.Encode(t)
	return m
}

// NewSignature returns a signature as cosign stores it, of the digest d in a
// repository.
func NewSignature(t testing.TB, key *ecdsa.PrivateKey, repository string, d digest.Digest) *Image {
	t.Helper()
	payload, err := json.Marshal(map[string]any{
		"critical": map[string]any{
			"identity": map[string]string{"docker-reference": repository},
			"image":    map[string]string{"docker-manifest-digest": d.String()},
			"type":     "cosign container image signature",
		},
		"optional": nil,
	})
	require.NoError(t, err)
	hash := sha256.Sum256(payload)
	signature, err := ecdsa.SignASN1(rand.Reader, key, hash[:])
	require.NoError(t, err)
	layer := NewLayer(payload, payload, "application/vnd.dev.cosign.simplesigning.v1+json")
	m := NewImage(t, "signature", layer)
	m.Manifest.Layers[0].Annotations = map[string]string{
		"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(signature),
	}
	m.Encode(t)
	return m
}

// NewKey returns a key to sign with, and the public key as cosign writes it.
func NewKey(t testing.TB) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	return key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}
