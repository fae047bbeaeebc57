package daemon_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/daemon"
)

// images answers as a daemon that has two tags of app, on one image, and one more.
func images(t testing.TB) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/images/json", r.URL.Path)
		var filters map[string]map[string]bool
		assert.NoError(t, json.Unmarshal([]byte(r.URL.Query().Get("filters")), &filters))
		assert.Equal(t, map[string]map[string]bool{"reference": {"app": true}}, filters)
		_, _ = io.WriteString(w, `[{"Id":"sha256:1","RepoTags":["app:2","app:1"]},{"Id":"sha256:2","RepoTags":null},{"Id":"sha256:3","RepoTags":["app:3"]}]`)
	})
}

var wanted = []string{"app:2", "app:1", "app:3"}

func TestTags(t *testing.T) {
	server := httptest.NewServer(images(t))
	defer server.Close()
	tags, err := daemon.Tags(t.Context(), daemon.Config{Host: server.URL}, "app")
	require.NoError(t, err)
	assert.Equal(t, wanted, tags)
}

func TestTagsOverASocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "d") // The names of sockets are short.
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(images(t))
	require.NoError(t, server.Listener.Close())
	server.Listener = l
	server.Start()
	defer server.Close()
	tags, err := daemon.Tags(t.Context(), daemon.Config{Host: "unix://" + socket}, "app")
	require.NoError(t, err)
	assert.Equal(t, wanted, tags)
}

// A daemon is known by its certificate, and knows its clients by theirs.
func TestTagsOverTLS(t *testing.T) {
	dir := t.TempDir()
	client := certificate(t, dir)
	server := httptest.NewUnstartedServer(images(t))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	clients := x509.NewCertPool()
	clients.AddCert(client)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	server.StartTLS()
	defer server.Close()
	write(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", server.Certificate().Raw)
	host := "tcp://" + strings.TrimPrefix(server.URL, "https://")

	tags, err := daemon.Tags(t.Context(), daemon.Config{Host: host, CertDir: dir}, "app")
	require.NoError(t, err)
	assert.Equal(t, wanted, tags)

	_, err = daemon.Tags(t.Context(), daemon.Config{Host: host}, "app")
	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, err, &unknown)
	_, err = daemon.Tags(t.Context(), daemon.Config{Host: host, InsecureSkipVerify: true}, "app")
	require.Error(t, err, "without a certificate")
	require.NotErrorAs(t, err, &unknown)
	write(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", client.Raw)
	_, err = daemon.Tags(t.Context(), daemon.Config{Host: host, CertDir: dir, InsecureSkipVerify: true}, "app")
	require.NoError(t, err)
	_, err = daemon.Tags(t.Context(), daemon.Config{Host: host, CertDir: filepath.Join(dir, "none")}, "app")
	require.ErrorContains(t, err, "connecting to the docker daemon: ")
}

// certificate writes the certificate and key of a client to a directory.
func certificate(t testing.TB, dir string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	write(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", raw)
	write(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", encoded)
	parsed, err := x509.ParseCertificate(raw)
	require.NoError(t, err)
	return parsed
}

func write(t testing.TB, path, kind string, raw []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600))
}

func TestInspect(t *testing.T) {
	const name = "example.com/team/app:1"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/images/"+name+"/json" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"message":"No such image"}`)
			return
		}
		_, _ = io.WriteString(w, `{"Id":"sha256:2","RepoTags":["app:1"],"Parent":"sha256:1"}`)
	}))
	defer server.Close()
	got, err := daemon.Inspect(t.Context(), daemon.Config{Host: server.URL}, name)
	require.NoError(t, err)
	assert.Equal(t, daemon.Image{ID: "sha256:2", Parent: "sha256:1"}, got)
	_, err = daemon.Inspect(t.Context(), daemon.Config{Host: server.URL}, "none")
	require.EqualError(t, err, "asking the docker daemon about the image none: 404 Not Found: No such image")
	_, err = daemon.Inspect(t.Context(), daemon.Config{Host: "localhost"}, name)
	require.ErrorContains(t, err, "not of the form PROTOCOL://ADDRESS")
}

func TestTagsErrors(t *testing.T) {
	for want, answer := range map[string]http.HandlerFunc{
		"500 Internal Server Error: it is ill": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, `{"message":"it is ill"}`)
		},
		"404 Not Found": http.NotFound,
		"307 Temporary Redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"parsing its answer: ": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{}`) },
		"reading its answer: ": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `[`)
		},
	} {
		server := httptest.NewServer(answer)
		_, err := daemon.Tags(t.Context(), daemon.Config{Host: server.URL}, "app")
		require.ErrorContains(t, err, "asking the docker daemon for its images: "+want)
		server.Close()
	}
	for _, host := range []string{"localhost", "unix://"} {
		_, err := daemon.Tags(t.Context(), daemon.Config{Host: host}, "app")
		require.ErrorContains(t, err, "not of the form PROTOCOL://ADDRESS")
	}
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		line := strings.Repeat(" ", 1<<20)
		for {
			if _, err := io.WriteString(w, line); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	_, err := daemon.Tags(t.Context(), daemon.Config{Host: endless.URL}, "app")
	require.ErrorIs(t, err, errdef.ErrLimit)

	ctx, cancel := context.WithCancel(t.Context())
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer hanging.Close()
	_, err = daemon.Tags(ctx, daemon.Config{Host: hanging.URL}, "app")
	require.ErrorIs(t, err, context.Canceled)
}
