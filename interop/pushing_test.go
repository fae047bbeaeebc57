//go:build interop

package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

// A secured registry wants TLS and a user.
type secured struct {
	address string
	certs   string // the directory with the certificate of its authority
}

const securedUser, securedPassword = "anna", "secret"

// startSecured starts distribution's registry.
func startSecured(t *testing.T) secured {
	t.Helper()
	dir := daemonDir(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := secured{address: l.Addr().String(), certs: filepath.Join(dir, "certs")}
	require.NoError(t, l.Close())
	require.NoError(t, os.Mkdir(s.certs, 0o755))
	certificate, key := filepath.Join(s.certs, "ca.crt"), filepath.Join(dir, "server.key")
	writeCertificate(t, certificate, key)
	users := filepath.Join(dir, "users")
	writeUsers(t, users)
	config := filepath.Join(dir, "config.yaml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: %q}
http:
  addr: %q
  tls: {certificate: %q, key: %q}
auth:
  htpasswd: {realm: test, path: %q}
`, filepath.Join(dir, "data"), s.address, certificate, key, users), 0o600))
	startDaemon(t, dir, built(t, "registry").with("serve", config), func() error {
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return s
}

// secure has a registry of a library ask for TLS and a user, which it does not do itself.
func secure(t *testing.T, registry http.Handler) secured {
	t.Helper()
	dir := t.TempDir()
	s := secured{certs: filepath.Join(dir, "certs")}
	require.NoError(t, os.Mkdir(s.certs, 0o755))
	certificate, key := filepath.Join(s.certs, "ca.crt"), filepath.Join(dir, "server.key")
	writeCertificate(t, certificate, key)
	pair, err := tls.LoadX509KeyPair(certificate, key)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != securedUser || password != securedPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		registry.ServeHTTP(w, r)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	s.address = server.Listener.Addr().String()
	return s
}

// securedRegistries are those that push is tried with.
var securedRegistries = map[string]func(*testing.T) secured{
	"distribution": startSecured,
	"go-containerregistry": func(t *testing.T) secured {
		return secure(t, registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	},
	"CUE's": func(t *testing.T) secured { return secure(t, ociserver.New(ocimem.New(), nil)) },
}

// writeUsers writes a file of the one user.
func writeUsers(t *testing.T, path string) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(securedPassword), bcrypt.MinCost)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, "%s:%s\n", securedUser, hash), 0o600))
}

// writeCertificate writes a certificate for this machine that is its own authority.
func writeCertificate(t *testing.T, certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "registry"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
}

// pushedImage is an image in the output of push --json.
type pushedImage struct {
	Targets  []string
	Digest   digest.Digest
	UpToDate bool
	Sent     int64
}

func (s secured) push(t *testing.T, archive string, options ...string) []pushedImage {
	t.Helper()
	args := append([]string{"push", "--insecure-policy", "--json", "--cert-dir", s.certs, "--creds", securedUser + ":" + securedPassword, archive, s.address}, options...)
	var pushed struct {
		OK     bool
		Images []pushedImage
	}
	require.NoError(t, json.Unmarshal([]byte(dockerArchive(t).run(t, args...)), &pushed))
	require.True(t, pushed.OK)
	return pushed.Images
}

// TestPush pushes archives of both layouts to several registries, with TLS and a user, from where
// skopeo copies what they got, and pushes them again.
func TestPush(t *testing.T) {
	referrers := referrersArchive(t, t.TempDir())
	for name, start := range securedRegistries {
		t.Run(name, func(t *testing.T) { pushAll(t, start(t), referrers) })
	}
}

func pushAll(t *testing.T, s secured, referrers string) {
	skopeo := debian(t, "skopeo")
	multi, err := os.ReadFile(filepath.Join(testLayout, "index.json"))
	require.NoError(t, err)
	for name, path := range map[string]string{
		"referrers":         referrers,
		"several platforms": "../testdata/archives/ctr24.tar",
		"docker layout":     "../testdata/archives/podman-multi.tar",
	} {
		t.Run(name, func(t *testing.T) {
			for _, image := range s.push(t, path) {
				assert.False(t, image.UpToDate)
				for _, target := range image.Targets {
					to := t.TempDir()
					skopeo.run(t, "copy", "--insecure-policy", "--all", "--src-cert-dir", s.certs, "--src-creds", securedUser+":"+securedPassword, "docker://"+target, "dir:"+to)
					assert.Equal(t, image.Digest.String(), strings.TrimSpace(skopeo.run(t, "manifest-digest", filepath.Join(to, "manifest.json"))))
				}
				if name == "several platforms" {
					assert.Contains(t, string(multi), image.Digest.String(), "that of the source")
				}
			}
			again := s.push(t, path)
			for _, image := range again {
				assert.True(t, image.UpToDate)
				assert.Zero(t, image.Sent)
			}
			if name == "referrers" { // Through the API or, from distribution's registry, the tag.
				tree := built(t, "oras").run(t, "discover", "--ca-file", filepath.Join(s.certs, "ca.crt"), "--username", securedUser, "--password", securedPassword,
					"--format", "go-template={{range .referrers}}{{.artifactType}}: {{range .referrers}}{{.artifactType}}{{end}}{{end}}", again[0].Targets[0])
				assert.Equal(t, "application/spdx+json: application/vnd.example.proof", strings.TrimSpace(tree))
			}
		})
	}
}

// TestPushIsDenied has registries refuse clients without credentials.
func TestPushIsDenied(t *testing.T) {
	for name, start := range securedRegistries {
		t.Run(name, func(t *testing.T) { pushDenied(t, start(t)) })
	}
}

func pushDenied(t *testing.T, s secured) {
	_, err := dockerArchive(t).try(t, "push", "--insecure-policy", "--no-creds", "--cert-dir", s.certs, "../testdata/archives/skopeo.tar", s.address)
	require.ErrorContains(t, err, "Log in")
	_, err = dockerArchive(t).try(t, "push", "--insecure-policy", "--tls-verify", "--creds", "a:b", "../testdata/archives/skopeo.tar", s.address)
	require.ErrorContains(t, err, "certificate")
}

// TestPrintedMirrors has containerd find images under their old names where push has put them.
func TestPrintedMirrors(t *testing.T) {
	dir := t.TempDir()
	layout := helloLayout(t, dir)
	name := servedHost + "/" + servedPath + ":" + servedTag
	path := copyArchive(t, dir, "oci:"+layout+":hello", name)
	registry := startRegistry(t)
	dockerArchive(t).run(t, "push", "--insecure-policy", "--tls-verify=false", path, registry+"/mirror")
	printed := dockerArchive(t).run(t, "push", path, registry+"/mirror", "--print-mirror", "containerd")
	c := startBuiltContainerd(t)
	hosts := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(hosts, servedHost), 0o755))
	// The registry of this test has no TLS.
	printed = strings.Replace(printed, "https://"+registry, "http://"+registry, 1)
	require.NoError(t, os.WriteFile(filepath.Join(hosts, servedHost, "hosts.toml"), []byte(printed), 0o600))
	c.ctr.run(t, "images", "pull", "--hosts-dir", hosts, name)
	output, err := c.runContainer(t, name)
	require.NoError(t, err)
	assert.Equal(t, helloOutput, strings.TrimSpace(output))
}
