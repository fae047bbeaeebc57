package imagetest

import (
	"bytes"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"
)

// Registry is a registry on this machine that counts requests.
type Registry struct {
	// Address is its host and port.
	Address string
	// Certificate is, in PEM, that of one with TLS.
	Certificate []byte
	// Interceptor may answer requests instead.
	Interceptor

	mu   sync.Mutex
	gets map[string]int
}

// NewRegistry starts an empty registry, which ends with the test.
func NewRegistry(t testing.TB) *Registry {
	t.Helper()
	return newRegistry(t, httptest.NewServer)
}

// NewTLSRegistry starts one with TLS, and a certificate that nobody knows.
func NewTLSRegistry(t testing.TB) *Registry {
	t.Helper()
	return newRegistry(t, func(h http.Handler) *httptest.Server {
		server := httptest.NewUnstartedServer(h)
		server.Config.ErrorLog = log.New(io.Discard, "", 0) // Clients that refuse it would be logged.
		server.StartTLS()
		return server
	})
}

func newRegistry(t testing.TB, start func(http.Handler) *httptest.Server) *Registry {
	t.Helper()
	reg := &Registry{gets: map[string]int{}}
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
	server := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			reg.mu.Lock()
			reg.gets[path.Base(r.URL.Path)]++
			reg.mu.Unlock()
		}
		if !reg.Answer(w, r) {
			images.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	reg.Address = server.Listener.Addr().String()
	if c := server.Certificate(); c != nil {
		reg.Certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return reg
}

// Gets returns how often each blob was asked for, by digest, since it was last
// called.
func (reg *Registry) Gets() map[string]int {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	gets := maps.Clone(reg.gets)
	clear(reg.gets)
	return gets
}

// Ref returns a reference to an image in the registry.
func (reg *Registry) Ref(t testing.TB, name string) types.ImageReference {
	t.Helper()
	ref, err := docker.ParseReference("//" + reg.Address + "/" + name)
	require.NoError(t, err)
	return ref
}

// Push puts an image, with all of its platforms, into the registry.
func (reg *Registry) Push(t testing.TB, name string, src types.ImageReference) types.ImageReference {
	t.Helper()
	ref := reg.Ref(t, name)
	require.NoError(t, Copy(t, ref, src, &copy.Options{
		ImageListSelection: copy.CopyAllImages,
		SourceCtx:          RegistryContext(t), DestinationCtx: RegistryContext(t), PreserveDigests: true,
	}))
	return ref
}

// RegistryContext returns an Isolated context for registries on this machine, under
// which the user's configuration does not matter and nothing can be spooled.
func RegistryContext(t testing.TB) *types.SystemContext {
	t.Helper()
	sys := Isolated()
	dir := t.TempDir()
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	sys.AuthFilePath = filepath.Join(dir, "auth.json")
	sys.RegistriesDirPath = dir
	sys.SystemRegistriesConfPath = filepath.Join(dir, "registries.conf")
	sys.SystemRegistriesConfDirPath = dir
	sys.BigFilesTemporaryDir = NoDir(t)
	require.NoError(t, os.WriteFile(sys.SystemRegistriesConfPath, nil, 0o600))
	require.NoError(t, os.WriteFile(sys.AuthFilePath, []byte("{}"), 0o600))
	return sys
}

// PutManifest puts a manifest or an index into the registry as it is.
func (reg *Registry) PutManifest(t testing.TB, repository, reference, mediaType string, raw []byte) {
	t.Helper()
	url := "http://" + reg.Address + "/v2/" + repository + "/manifests/" + reference
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, bytes.NewReader(raw))
	require.NoError(t, err)
	req.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusCreated, resp.StatusCode)
}
