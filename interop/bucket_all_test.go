//go:build interop && interopall

package interop

import (
	"path/filepath"
	"testing"
)

// TestReadMinIO is TestReadBucket with MinIO.
func TestReadMinIO(t *testing.T) {
	t.Parallel()
	readStore(t, startMinIO(t))
}

// TestWriteMinIO is TestWriteBucket with MinIO.
func TestWriteMinIO(t *testing.T) {
	t.Parallel()
	writeStore(t, startMinIO(t))
}

// startMinIO starts MinIO on an empty directory.
func startMinIO(t *testing.T) objectStore {
	t.Helper()
	dir := daemonDir(t)
	return startObjectStore(t, dir, func(address string) program {
		return built(t, "minio").with("server", "--quiet", "--address", address, filepath.Join(dir, "data")).
			withEnv("MINIO_ROOT_USER=interop", "MINIO_ROOT_PASSWORD=interop-secret", "MINIO_BROWSER=off", "MINIO_UPDATE=off")
	})
}
