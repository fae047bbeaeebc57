package output

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/local"
)

// recordSyncs notes in the result the files that are synced, and whether the
// archive had its name then, and lets the syncs fail with the errors given.
func recordSyncs(t *testing.T, path string, fileErr, dirErr error) *[]string {
	var seen []string
	note := func(what string) {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			what += " before the name"
		}
		seen = append(seen, what)
	}
	realFile, realDir := syncFile, syncDir
	t.Cleanup(func() { syncFile, syncDir = realFile, realDir })
	syncFile = func(f *local.File) error {
		note("file")
		return errors.Join(fileErr, realFile(f))
	}
	syncDir = func(dir string) error {
		note("directory")
		assert.Equal(t, filepath.Dir(path), filepath.Clean(dir))
		return errors.Join(dirErr, realDir(dir))
	}
	return &seen
}

func written(t *testing.T, path string, noSync bool) *Output {
	o, err := Create(t.Context(), path)
	require.NoError(t, err)
	if noSync {
		o.NoSync()
	}
	_, err = o.File().WriteAt([]byte("archive"), 0)
	require.NoError(t, err)
	return o
}

// The bytes are on the disk before the name leads to them, and the name afterwards.
func TestSyncedBeforeNamed(t *testing.T) {
	for name, prepare := range map[string]func(path string) error{
		"new":               func(string) error { return nil },
		"instead of a file": func(path string) error { return os.WriteFile(path, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "archive")
			require.NoError(t, prepare(path))
			seen := recordSyncs(t, path, nil, nil)
			require.NoError(t, written(t, path, false).Commit(t.Context()))
			assert.Equal(t, []string{"file before the name", "directory"}, *seen)
		})
	}
}

func TestNoSync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive")
	seen := recordSyncs(t, path, nil, nil)
	require.NoError(t, written(t, path, true).Commit(t.Context()))
	assert.Empty(t, *seen)
	assert.FileExists(t, path)
}

func TestNothingAppearsThatCannotBeSynced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive")
	failure := errors.New("input/output error")
	recordSyncs(t, path, failure, nil)
	err := written(t, path, false).Commit(t.Context())
	require.ErrorIs(t, err, failure)
	assert.NoFileExists(t, path)
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// When it turns out that the name may be lost, the archive is there, and the error says so.
func TestNameCannotBeSynced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive")
	failure := errors.New("input/output error")
	recordSyncs(t, path, nil, failure)
	err := written(t, path, false).Commit(t.Context())
	require.ErrorIs(t, err, failure)
	require.ErrorIs(t, err, ErrNotDurable)
	assert.FileExists(t, path)
}

func TestNoSyncOfWhatIsGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive")
	seen := recordSyncs(t, path, nil, nil)
	o := written(t, path, false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, o.Commit(ctx), context.Canceled)
	assert.Empty(t, *seen)
	_, err := os.Stat(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
}
