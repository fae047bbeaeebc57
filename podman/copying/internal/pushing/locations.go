package pushing

import (
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/pkg/blobinfocache"
	"go.podman.io/image/v5/pkg/blobinfocache/boltdb"
	"go.podman.io/image/v5/pkg/blobinfocache/memory"
	"go.podman.io/image/v5/types"
)

// locations returns the cache of containers/image, which remembers in which repositories
// blobs are. A program without C has no SQLite, and that cache would forget all when the
// program ends. It then uses the older cache of skopeo and podman, in the same
// directory.
func locations(sys *types.SystemContext) types.BlobInfoCache {
	if hasSQLite {
		return blobinfocache.DefaultCache(sys)
	}
	dir, ok := cacheDir(sys)
	if !ok || os.MkdirAll(dir, 0o700) != nil {
		return memory.New() // As containers/image does.
	}
	//lint:ignore SA1019 There is no other without C. It panics at a damaged file, which tolerant catches.
	return tolerant{boltdb.New(filepath.Join(dir, "blob-info-cache-v1.boltdb"))}
}

// tolerant is a cache that knows nothing where it would panic: its entries are hints.
type tolerant struct{ types.BlobInfoCache }

// RecordKnownLocation implements types.BlobInfoCache.
func (c tolerant) RecordKnownLocation(transport types.ImageTransport, scope types.BICTransportScope, blob digest.Digest, location types.BICLocationReference) {
	defer ignorePanic()
	c.BlobInfoCache.RecordKnownLocation(transport, scope, blob, location)
}

// CandidateLocations implements types.BlobInfoCache.
func (c tolerant) CandidateLocations(transport types.ImageTransport, scope types.BICTransportScope, blob digest.Digest, canSubstitute bool) []types.BICReplacementCandidate {
	defer ignorePanic()
	return c.BlobInfoCache.CandidateLocations(transport, scope, blob, canSubstitute)
}

func ignorePanic() { _ = recover() }

// cacheDir returns the directory in which containers/image has its cache.
func cacheDir(sys *types.SystemContext) (dir string, ok bool) {
	if sys != nil && sys.BlobInfoCacheDir != "" {
		return sys.BlobInfoCacheDir, true
	}
	if os.Geteuid() == 0 {
		root := "/"
		if sys != nil && sys.RootForImplicitAbsolutePaths != "" {
			root = sys.RootForImplicitAbsolutePaths
		}
		return filepath.Join(root, "var", "lib", "containers", "cache"), true
	}
	data := os.Getenv("XDG_DATA_HOME")
	if data == "" {
		home := os.Getenv("HOME")
		if home == "" {
			return "", false
		}
		data = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(data, "containers", "cache"), true
}
