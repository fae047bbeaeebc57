package registries_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

const blobText = "0123456789"

var blob = imgspecv1.Descriptor{Digest: digest.FromString(blobText), Size: int64(len(blobText))}

// blobServer has the blob and a manifest, and answers requests for ranges.
type blobServer struct {
	manifests, ranges atomic.Int32
	noManifest        bool
	// answer, if not nil, may answer a request for a range instead.
	answer func(w http.ResponseWriter, r *http.Request) bool
}

// ServeHTTP implements http.Handler.
func (s *blobServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.Contains(r.URL.Path, "/manifests/"):
		s.manifests.Add(1)
		if s.noManifest {
			w.WriteHeader(http.StatusNotFound)
		}
	case strings.HasSuffix(r.URL.Path, "/blobs/"+blob.Digest.String()):
		s.ranges.Add(1)
		if s.answer == nil || !s.answer(w, r) {
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(blobText))
		}
	case r.URL.Path != "/v2/":
		w.WriteHeader(http.StatusNotFound)
	}
}

// readRange reads a range of the blob.
func readRange(t *testing.T, c *registries.Client, host string) error {
	t.Helper()
	body, err := c.Range(t.Context(), repository(t, host), blob, 3, 4)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(body)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	assert.Equal(t, "3456", string(data))
	return nil
}

// prepare waits until ranges come without delay.
func prepare(t *testing.T, c *registries.Client, host string) {
	t.Helper()
	require.Eventually(t, func() bool { return c.Prepared(t.Context(), repository(t, host)) }, time.Minute, time.Millisecond)
}

// Once it is prepared, a range is one request: there is a token by then.
func TestRangeWithAToken(t *testing.T) {
	const token = "a-token"
	var host string
	var tokens, refused atomic.Int32
	server := &blobServer{}
	host = serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/token":
			tokens.Add(1)
			assert.Equal(t, "repository:team/app:pull", r.URL.Query().Get("scope"))
			assert.Equal(t, "user password", user+" "+password)
			_, _ = fmt.Fprintf(w, `{"token":%q}`, token)
		case r.Header.Get("Authorization") != "Bearer "+token:
			refused.Add(1)
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+host+`/token",service="test"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			server.ServeHTTP(w, r)
		}
	})
	sys := imagetest.RegistryContext(t)
	sys.DockerAuthConfig = &types.DockerAuthConfig{Username: "user", Password: "password"}
	c := newClient(t, sys)
	assert.False(t, c.Prepared(t.Context(), repository(t, host)))
	prepare(t, c, host)
	assert.EqualValues(t, 1, server.manifests.Load())
	assert.EqualValues(t, 1, tokens.Load())
	before := refused.Load()
	require.NoError(t, readRange(t, c, host))
	require.NoError(t, readRange(t, c, host))
	assert.EqualValues(t, 2, server.ranges.Load())
	assert.EqualValues(t, 1, tokens.Load())
	assert.Equal(t, before, refused.Load())
}

// Preparing ends with its context, and can begin again.
func TestPreparedEnds(t *testing.T) {
	asked, server := make(chan struct{}, 10), &blobServer{}
	var hangs atomic.Bool
	hangs.Store(true)
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if hangs.Load() && r.URL.Path != "/v2/" {
			asked <- struct{}{}
			<-r.Context().Done()
			return
		}
		server.ServeHTTP(w, r)
	})
	c := newClient(t, imagetest.RegistryContext(t))
	ctx, cancel := context.WithCancel(t.Context())
	assert.False(t, c.Prepared(ctx, repository(t, host)))
	<-asked
	hangs.Store(false)
	cancel()
	prepare(t, c, host)
}

// Ranges come from the mirror that has the image. If it fails, the registry is asked, and from
// then on. Neither is asked for what another one has refused to send in ranges.
func TestRangeOfAMirror(t *testing.T) {
	fails := func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusInternalServerError)
		return true
	}
	busy := func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}
	lacks := func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusNotFound); return true }
	whole := func(_ http.ResponseWriter, r *http.Request) bool { r.Header.Del("Range"); return false }
	for name, c := range map[string]struct {
		prepared         bool
		mirror           *blobServer
		mirrored, ranges int32 // requests to the mirror, and to the registry, for two ranges
		err              error
		host             string
	}{
		"mirror":                 {true, &blobServer{}, 2, 0, nil, "mirror"},
		"mirror, not prepared":   {false, &blobServer{}, 2, 0, nil, "mirror"},
		"no image there":         {true, &blobServer{noManifest: true}, 0, 2, nil, "registry"},
		"no blob there":          {true, &blobServer{answer: lacks}, 1, 2, nil, "registry"},
		"broken":                 {true, &blobServer{answer: fails}, 1, 2, nil, "registry"},
		"busy":                   {true, &blobServer{answer: busy}, 1, 2, nil, "registry"},
		"whole":                  {true, &blobServer{answer: whole}, 2, 0, registries.ErrNoRange, "mirror"},
		"no image, not prepared": {false, &blobServer{noManifest: true, answer: lacks}, 1, 2, nil, "registry"},
	} {
		t.Run(name, func(t *testing.T) {
			itself := &blobServer{}
			host := serve(t, itself.ServeHTTP)
			mirror := serve(t, func(w http.ResponseWriter, r *http.Request) {
				assert.Empty(t, r.Header.Get("Authorization"))
				if r.URL.Path != "/v2/" {
					assert.Equal(t, "a-namespace", r.URL.Query().Get("ns"))
				}
				c.mirror.ServeHTTP(w, r)
			})
			sys := imagetest.RegistryContext(t)
			sys.DockerInsecureSkipTLSVerify = types.OptionalBoolUndefined
			sys.DockerAuthConfig = &types.DockerAuthConfig{Username: "user", Password: "password"}
			conf := fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n[[registry.mirror]]\nlocation = %q\ninsecure = true\nnamespace-proxy = \"a-namespace\"\n", host, mirror)
			require.NoError(t, os.WriteFile(sys.SystemRegistriesConfPath, []byte(conf), 0o600))
			client := newClient(t, sys)
			if c.prepared {
				prepare(t, client, host)
			}
			for range 2 {
				require.ErrorIs(t, readRange(t, client, host), c.err)
			}
			assert.Equal(t, []int32{c.mirrored, c.ranges}, []int32{c.mirror.ranges.Load(), itself.ranges.Load()})
			assert.Equal(t, map[string]string{"mirror": mirror, "registry": host}[c.host], client.Host(repository(t, host)))
		})
	}
}

// A registry may have a blob elsewhere, where its credentials are not sent.
func TestRangeElsewhere(t *testing.T) {
	store := &blobServer{}
	elsewhere := serve(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.Header.Get("Authorization"))
		assert.Equal(t, "signed", r.URL.RawQuery)
		store.ServeHTTP(w, r)
	})
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if user, _, _ := r.BasicAuth(); user != "user" {
			asks(w, r)
			return
		}
		if strings.Contains(r.URL.Path, "/blobs/") {
			http.Redirect(w, r, "http://"+elsewhere+r.URL.Path+"?signed", http.StatusTemporaryRedirect)
		}
	})
	sys := imagetest.RegistryContext(t)
	sys.DockerAuthConfig = &types.DockerAuthConfig{Username: "user", Password: "password"}
	require.NoError(t, readRange(t, newClient(t, sys), host))
	assert.EqualValues(t, 1, store.ranges.Load())
}

// The certificates and the proxy of a program's own context are those of ranges too.
func TestRangeThroughAContext(t *testing.T) {
	server := httptest.NewTLSServer(&blobServer{})
	t.Cleanup(server.Close)
	sys := imagetest.RegistryContext(t)
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolFalse
	sys.BaseTLSConfig = &tls.Config{RootCAs: x509.NewCertPool()}
	sys.BaseTLSConfig.RootCAs.AddCert(server.Certificate())
	require.NoError(t, readRange(t, newClient(t, sys), server.Listener.Addr().String()))

	proxy := &blobServer{}
	proxied := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			http.Error(w, "no TLS here", http.StatusBadGateway)
			return
		}
		proxy.ServeHTTP(w, r)
	})
	sys = imagetest.RegistryContext(t)
	sys.DockerProxy = func(*url.URL) (*url.URL, error) { return &url.URL{Scheme: "http", Host: proxied}, nil }
	require.NoError(t, readRange(t, newClient(t, sys), "registry.example"))
	assert.EqualValues(t, 1, proxy.ranges.Load())
}
