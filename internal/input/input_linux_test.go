package input

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// descriptors returns how many of this process are open for path, or for unnamed
// files in it.
func descriptors(t *testing.T, path string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	count := 0
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && (target == path || strings.HasPrefix(target, path+"/#")) {
			count++
		}
	}
	return count
}

// A file is closed when it has been copied, when it could not be, and else with
// what was opened.
func TestFilesAreClosed(t *testing.T) {
	compressed := gzipped(t, []byte("content"))
	path := filepath.Join(t.TempDir(), "file")
	o := Options{TempDir: t.TempDir()}
	require.NoError(t, os.WriteFile(path, compressed, 0o600))
	f, err := Open(t.Context(), path, o)
	require.NoError(t, err)
	assert.Zero(t, descriptors(t, path), "it was copied")
	assert.Equal(t, 1, descriptors(t, o.TempDir))
	require.NoError(t, f.Close())
	assert.Zero(t, descriptors(t, o.TempDir))

	require.NoError(t, os.WriteFile(path, compressed[:12], 0o600))
	_, err = Open(t.Context(), path, o)
	require.Error(t, err)
	assert.Zero(t, descriptors(t, path), "it is damaged")
	assert.Zero(t, descriptors(t, o.TempDir), "it is damaged")

	_, err = Open(t.Context(), filepath.Dir(path), o)
	require.Error(t, err)
	assert.Zero(t, descriptors(t, filepath.Dir(path)), "it is a directory")

	require.NoError(t, os.WriteFile(path, []byte("content"), 0o600))
	f, err = Open(t.Context(), path, o)
	require.NoError(t, err)
	assert.Equal(t, 1, descriptors(t, path))
	require.NoError(t, f.Close())
	assert.Zero(t, descriptors(t, path))
}

// Nothing is left of the wait for a writer that did not come.
func TestNothingLeftOfPipeWithoutWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	_, err := openFile(ctx, path)
	require.ErrorIs(t, err, gone)
	_, err = os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	require.ErrorIs(t, err, syscall.ENXIO, "there is no reader")
}

// A writer that opens and closes without writing has written an empty file.
func TestSilentWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	go func() {
		if w, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
			w.Close()
		}
	}()
	f, err := Open(t.Context(), path, Options{TempDir: t.TempDir()})
	require.NoError(t, err)
	assert.Zero(t, f.Size())
	require.NoError(t, f.Close())
}
