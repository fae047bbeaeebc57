package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/compression"
)

// The name of an archive sets its compression, for every command and layout, and it is
// read like any other.
func TestCompressedByName(t *testing.T) {
	for name, want := range map[string]compression.Algorithm{"a.tar": compression.None, "a.tar.gz": compression.Gzip, "a.tar.zst": compression.Zstd} {
		for _, layout := range []string{"image", "docker"} {
			saved, copied := filepath.Join(t.TempDir(), name), filepath.Join(t.TempDir(), name)
			succeeds(t, "save", "-q", "--layout", layout, "-o", saved, "oci:../../../testdata/oci:one=app:1")
			succeeds(t, "copy", "-q", "oci:../../../testdata/oci:one", map[string]string{"image": "image-archive:", "docker": "docker-archive:"}[layout]+copied+":app:1")
			for _, path := range []string{saved, copied} {
				data, err := os.ReadFile(path)
				require.NoError(t, err)
				assert.Equal(t, want, compression.Detect(data[:compression.PrefixLen]), path)
				succeeds(t, "verify", path)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "a.tar.zst")
	succeeds(t, "save", "-q", "--compress", "none", "-o", path, "oci:../../../testdata/oci:one=app:1")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, compression.None, compression.Detect(data))
	_, _, status := command(t, "save", "--compress", "xz", "-o", path, "oci:../../../testdata/oci:one=app:1")
	assert.Equal(t, exitUsage, status)
}
