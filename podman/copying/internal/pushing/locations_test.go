package pushing

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"
)

// A later process knows where an earlier one has put blobs, with C or without.
func TestLocationsStay(t *testing.T) {
	sys := &types.SystemContext{BlobInfoCacheDir: filepath.Join(t.TempDir(), "cache")}
	scope, d := types.BICTransportScope{Opaque: "example.com"}, digest.FromString("blob")
	at := types.BICLocationReference{Opaque: "example.com/app"}
	locations(sys).RecordKnownLocation(docker.Transport, scope, d, at)
	found := locations(sys).CandidateLocations(docker.Transport, scope, d, false)
	require.Len(t, found, 1)
	assert.Equal(t, at, found[0].Location)
	assert.Empty(t, locations(&types.SystemContext{BlobInfoCacheDir: t.TempDir()}).CandidateLocations(docker.Transport, scope, d, false))
}

// A cache that cannot be written remembers nothing, and does not fail.
func TestLocationsWithoutDirectory(t *testing.T) {
	sys := &types.SystemContext{BlobInfoCacheDir: filepath.Join(os.DevNull, "none")}
	scope, d := types.BICTransportScope{Opaque: "example.com"}, digest.FromString("blob")
	locations(sys).RecordKnownLocation(docker.Transport, scope, d, types.BICLocationReference{Opaque: "example.com/app"})
	assert.Empty(t, locations(sys).CandidateLocations(docker.Transport, scope, d, false))
}

func TestCacheDir(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	t.Setenv("XDG_DATA_HOME", "")
	want := "/home/me/.local/share/containers/cache"
	if os.Geteuid() == 0 {
		want = "/var/lib/containers/cache"
	}
	dir, ok := cacheDir(nil)
	assert.True(t, ok)
	assert.Equal(t, filepath.FromSlash(want), dir)
	if os.Geteuid() == 0 {
		dir, _ = cacheDir(&types.SystemContext{RootForImplicitAbsolutePaths: "/root/of/all"})
		assert.Equal(t, "/root/of/all/var/lib/containers/cache", dir)
	}
}

// A damaged cache is none.
func TestLocationsInADamagedFile(t *testing.T) {
	if hasSQLite {
		t.Skip("with C it is SQLite that reads the file; make test-long runs this without")
	}
	dir := t.TempDir()
	sys := &types.SystemContext{BlobInfoCacheDir: dir}
	scope, d := types.BICTransportScope{Opaque: "example.com"}, digest.FromString("x")
	locations(sys).RecordKnownLocation(docker.Transport, scope, d, types.BICLocationReference{Opaque: "example.com/app"})
	path := filepath.Join(dir, "blob-info-cache-v1.boltdb")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := 2 * os.Getpagesize(); i < len(data); i++ { // All pages but the first two, which say what the file is.
		data[i] = 0xff
	}
	require.NoError(t, os.WriteFile(path, data, 0o600))
	assert.Empty(t, locations(sys).CandidateLocations(docker.Transport, scope, d, false))
	locations(sys).RecordKnownLocation(docker.Transport, scope, d, types.BICLocationReference{Opaque: "example.com/app"})
}
