//go:build interop

package interop

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWriteBucketTLS writes to a store whose certificate only the flags make known.
func TestWriteBucketTLS(t *testing.T) {
	t.Parallel()
	store := startVersitygw(t)
	server := httptest.NewTLSServer(store.proxy(t, new(atomic.Int64)))
	t.Cleanup(server.Close)
	certs := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(filepath.Join(certs, "ca.crt"), ca, 0o600))

	command, path := store.at(server.URL).command(t).withEnv("XDG_CACHE_HOME="+t.TempDir()), store.path("a.tar")
	command.run(t, "save", "-q", "--insecure-policy", "--cert-dir", certs, "-o", path, "oci:../testdata/oci:one")
	command.run(t, "add", "-q", "--insecure-policy", "--tls-verify=false", path, "oci:../testdata/oci:multi")
	command.run(t, "remove", "-q", "--cert-dir", certs, path, "multi")
	before := store.get(t, "a.tar")
	_, err := command.try(t, "compact", path)
	require.ErrorContains(t, err, "certificate")
	assert.Equal(t, before, store.get(t, "a.tar"))
	command.run(t, "compact", "-q", "--insecure-policy", "--cert-dir", certs, path)
	assert.Less(t, len(store.get(t, "a.tar")), len(before))
}

// proxy returns a proxy before the store. It counts the bytes of bodies that it sends there.
func (s objectStore) proxy(t *testing.T, sent *atomic.Int64) http.Handler {
	t.Helper()
	to, err := url.Parse(s.endpoint)
	require.NoError(t, err)
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // It is signed.
		if r.Out.Body != nil {
			r.Out.Body = countedBody{r.Out.Body, sent}
		}
	}}
}

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

// Read implements io.Reader.
func (b countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

// at returns the store as programs see it behind a proxy.
func (s objectStore) at(endpoint string) objectStore {
	env := []string{"AWS_ENDPOINT_URL=" + endpoint}
	for _, variable := range s.env {
		if !strings.HasPrefix(variable, "AWS_ENDPOINT_URL=") {
			env = append(env, variable)
		}
	}
	s.env = env
	return s
}
