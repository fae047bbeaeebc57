package dockerarchive

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/types"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"
)

// testRegistry is a registry on this machine that counts what it is asked for.
type testRegistry struct {
	address string
	// intercept, if not nil, may answer a request instead.
	intercept func(w http.ResponseWriter, r *http.Request) bool

	mu   sync.Mutex
	gets map[string]int // of blobs, by digest
}

func newTestRegistry(t testing.TB) *testRegistry {
	t.Helper()
	reg := &testRegistry{gets: map[string]int{}}
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			reg.mu.Lock()
			reg.gets[path.Base(r.URL.Path)]++
			reg.mu.Unlock()
		}
		if reg.intercept == nil || !reg.intercept(w, r) {
			images.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	reg.address = strings.TrimPrefix(server.URL, "http://")
	return reg
}

// ref returns a reference to an image in the registry.
func (reg *testRegistry) ref(t testing.TB, name string) types.ImageReference {
	t.Helper()
	ref, err := docker.ParseReference("//" + reg.address + "/" + name)
	require.NoError(t, err)
	return ref
}

// push puts an image, with all of its platforms, into the registry.
func (reg *testRegistry) push(t testing.TB, name string, src types.ImageReference) types.ImageReference {
	t.Helper()
	ref := reg.ref(t, name)
	require.NoError(t, copyImage(t, ref, src, &copy.Options{
		ImageListSelection: copy.CopyAllImages,
		SourceCtx:          registryContext(t), DestinationCtx: registryContext(t), PreserveDigests: true,
	}))
	return ref
}

// registryContext returns a context for registries on this machine, under which
// the user's configuration does not matter.
func registryContext(t testing.TB) *types.SystemContext {
	t.Helper()
	sys := isolated()
	dir := t.TempDir()
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	sys.AuthFilePath = filepath.Join(dir, "auth.json")
	sys.RegistriesDirPath = dir
	sys.SystemRegistriesConfPath = filepath.Join(dir, "registries.conf")
	sys.SystemRegistriesConfDirPath = dir
	sys.BigFilesTemporaryDir = noSpool(t)
	require.NoError(t, os.WriteFile(sys.SystemRegistriesConfPath, nil, 0o600))
	require.NoError(t, os.WriteFile(sys.AuthFilePath, []byte("{}"), 0o600))
	return sys
}
