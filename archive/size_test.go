package archive_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestProgramIsSmall builds a program that lists the images of an archive: a
// scanner should not have to carry a container engine along.
func TestProgramIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	const limit = 4 << 20
	path := filepath.Join(t.TempDir(), "list")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./testdata/list")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Less(t, info.Size(), int64(limit))
}
