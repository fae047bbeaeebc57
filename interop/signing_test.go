//go:build interop

package interop

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A signer is cosign with a key.
type signer struct {
	cosign  program
	private string // the files of the key
	public  string
	options []string // without which it would ask a transparency log
}

// newSigner has a cosign import a key, as it is called in dir.
func newSigner(t *testing.T, cosign program, dir string, key crypto.PrivateKey, options ...string) signer {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	path := filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	cosign = cosign.withEnv("HOME="+dir, "COSIGN_PASSWORD=")
	prefix := filepath.Join(dir, "cosign")
	cosign.run(t, "import-key-pair", "--yes", "--key", path, "--output-key-prefix", prefix)
	return signer{cosign, prefix + ".key", prefix + ".pub", append(options, "--yes", "--tlog-upload=false", "--allow-insecure-registry", "--allow-http-registry")}
}

func (s signer) sign(t *testing.T, image string) {
	t.Helper()
	s.cosign.run(t, append(append([]string{"sign", "--key", s.private}, s.options...), image)...)
}

func (s signer) attest(t *testing.T, image, kind, predicate string) {
	t.Helper()
	s.cosign.run(t, append(append([]string{"attest", "--key", s.private, "--type", kind, "--predicate", predicate}, s.options...), image)...)
}

// keysOfAllKinds are those that cosign signs with.
func keysOfAllKinds(t *testing.T) map[string]crypto.PrivateKey {
	t.Helper()
	keys := map[string]crypto.PrivateKey{}
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		require.NoError(t, err)
		keys[name] = key
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	keys["ed25519"] = edwards
	keys["RSA"], err = rsa.GenerateKey(rand.Reader, 3072)
	require.NoError(t, err)
	return keys
}

// TestVerifyCosign3 checks signatures and attestations of cosign 3 in its default form,
// from a registry with the API for referrers and from one without.
func TestVerifyCosign3(t *testing.T) {
	verifyCosign(t, built(t, "cosign"), "--use-signing-config=false")
}

// TestVerifyCosign2 checks signatures of cosign 2: under tags, without bundles.
func TestVerifyCosign2(t *testing.T) {
	path := filepath.Join(clientsDir(t), "cosign2", "cosign")
	require.FileExists(t, path, "interop/clients builds it")
	verifyCosign(t, program{name: "built cosign 2", argv: []string{path}}, "--new-bundle-format=false")
}

func verifyCosign(t *testing.T, cosign program, options ...string) {
	t.Helper()
	registries := map[string]string{"with the API": startRegistry(t), "without": startRegistryWithoutReferrers(t)}
	for kind, key := range keysOfAllKinds(t) {
		for api, registry := range registries {
			t.Run(kind+" "+api, func(t *testing.T) {
				dir := t.TempDir()
				verifySigner(t, newSigner(t, cosign, dir, key, options...), dir, registry+"/"+strings.ToLower(kind))
			})
		}
	}
}

// startRegistryWithoutReferrers starts a registry in which clients keep referrers under tags.
func startRegistryWithoutReferrers(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// verifySigner signs an image of a repository in a registry, and checks archives of it.
func verifySigner(t *testing.T, s signer, dir, repository string) {
	t.Helper()
	da := dockerArchive(t)
	crane := built(t, "crane").withEnv("HOME=" + dir)
	push := func(image, tag string) string {
		da.run(t, "copy", "--insecure-policy", "--dest-tls-verify=false", "oci:"+testLayout+":"+image, "docker://"+repository+":"+tag)
		return repository + "@" + strings.TrimSpace(crane.run(t, "digest", "--insecure", repository+":"+tag))
	}
	save := func(tag string) string {
		path := filepath.Join(dir, tag+".tar")
		da.run(t, "save", "--insecure-policy", "--tls-verify=false", "--referrers", "-o", path, repository+":"+tag)
		return path
	}
	one, other := push("one", "1"), push("two", "2")
	s.sign(t, one)
	predicate := filepath.Join(dir, "predicate.json")
	require.NoError(t, os.WriteFile(predicate, []byte(`{"buildDefinition":{"buildType":"x","externalParameters":{}},"runDetails":{"builder":{"id":"x"}}}`), 0o600))

	signed := save("1")
	da.run(t, "verify", "--key", s.public, signed)
	_, err := da.try(t, "verify", "--key", s.public, "--attestation", "slsaprovenance1", signed)
	require.ErrorContains(t, err, "exit status 1", "nothing attests that")
	s.attest(t, other, "slsaprovenance1", predicate)
	attested := save("2")
	da.run(t, "verify", "--key", s.public, "--attestation", "slsaprovenance1", attested)
	da.run(t, "verify", "--key", s.public, "--attestation", "https://slsa.dev/provenance/v1", attested)
	_, err = da.try(t, "verify", "--key", s.public, attested)
	require.ErrorContains(t, err, "exit status 1", "an attestation is no signature")

	// Somebody without the key adds the other image, or changes the signature.
	both := filepath.Join(dir, "both.tar")
	data, err := os.ReadFile(signed)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(both, data, 0o600))
	da.run(t, "add", "--insecure-policy", both, "docker-archive:"+attested+":"+repository+":2")
	_, err = da.try(t, "verify", "--key", s.public, both)
	require.ErrorContains(t, err, "exit status 1", "one of two images is not signed")
	for _, part := range []string{`"sig":"`, "dev.cosignproject.cosign/signature\":\""} {
		at := bytes.Index(data, []byte(part))
		if at < 0 {
			continue
		}
		changed := bytes.Clone(data)
		changed[at+len(part)+20] ^= 1
		require.NoError(t, os.WriteFile(both, changed, 0o600))
		_, err = da.try(t, "verify", "--key", s.public, both)
		assert.ErrorContains(t, err, "exit status 1")
	}
	stranger := filepath.Join(dir, "stranger")
	require.NoError(t, os.Mkdir(stranger, 0o700))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	_, err = da.try(t, "verify", "--key", newSigner(t, s.cosign, stranger, key).public, signed)
	require.ErrorContains(t, err, "exit status 1")
}
