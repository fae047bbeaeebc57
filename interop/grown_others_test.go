//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Archives that other programs have written are added to, and skopeo reads what is new in
// them, and what was there.
func TestArchivesOfOthersGrow(t *testing.T) {
	for _, name := range []string{"docker20", "docker29", "podman-multi", "crane", "ctr24", "skopeo"} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("..", "testdata", "archives", name+".tar"))
			require.NoError(t, err)
			path := filepath.Join(t.TempDir(), "grown.tar")
			require.NoError(t, os.WriteFile(path, data, 0o600))
			dockerArchive(t).run(t, "--insecure-policy", "add", "--name", "added:1", path, "oci:"+testLayout+":two")
			for _, source := range []string{"docker-archive:" + path + ":docker.io/library/added:1", "docker-archive:" + path + ":@0"} {
				debian(t, "skopeo").run(t, "--insecure-policy", "copy", source, "dir:"+t.TempDir())
			}
			dockerArchive(t).run(t, "remove", path, "added:1")
			dockerArchive(t).run(t, "compact", path)
			dockerArchive(t).run(t, "verify", path)
		})
	}
}
