//go:build unix

package making_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/podman/making"
)

// A pipe gets the same bytes as a file.
func TestPipe(t *testing.T) {
	for _, transport := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
		img, _ := app(t)
		dir := t.TempDir()
		o := &making.ArchiveOptions{Transport: transport}
		_, err := making.WriteArchive(t.Context(), filepath.Join(dir, "file"), img, o)
		require.NoError(t, err)
		pipe := filepath.Join(dir, "pipe")
		require.NoError(t, syscall.Mkfifo(pipe, 0o600))
		read := make(chan []byte)
		go func() {
			data, _ := os.ReadFile(pipe)
			read <- data
		}()
		_, err = making.WriteArchive(t.Context(), pipe, img, o)
		require.NoError(t, err)
		assert.Equal(t, imagetest.Sum(imagetest.ReadFile(t, filepath.Join(dir, "file"))), imagetest.Sum(<-read))
		assert.Empty(t, imagetest.Leftovers(t, img.TempDir))
	}
}
