//go:build unix

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
)

// creators are the ways to write to a file that appears at its path.
var creators = map[string]func(string, fs.FileInfo) (*Output, error){"beside": createBeside, "named": createNamed}

// The temporary file is where the archive will be, not where temporary files
// are, from where it could not be renamed.
func TestNamedTemporaryFileOfBareName(t *testing.T) {
	dir, temp := t.TempDir(), t.TempDir()
	t.Chdir(dir)
	t.Setenv("TMPDIR", temp)
	o, err := createNamed("out", nil)
	require.NoError(t, err)
	assert.Empty(t, names(t, temp))
	assert.Len(t, names(t, dir), 1)
	write(t, o, "new")
	require.NoError(t, o.Commit(t.Context()))
	assert.Equal(t, "new", read(t, "out"))
	assert.Equal(t, []string{"out"}, names(t, dir))
}

// If two programs write to the same path, the second to commit gets an error.
func TestTwoWriters(t *testing.T) {
	for name, create := range creators {
		for _, empty := range []bool{true, false} {
			dir := t.TempDir()
			path := filepath.Join(dir, "out")
			var old fs.FileInfo
			if empty {
				require.NoError(t, os.WriteFile(path, nil, 0o600))
				var err error
				old, err = os.Stat(path)
				require.NoError(t, err)
			}
			first, err := create(path, old)
			require.NoError(t, err)
			second, err := create(path, old)
			require.NoError(t, err)
			write(t, first, "first")
			write(t, second, "second")
			require.NoError(t, second.Commit(t.Context()))
			require.ErrorIs(t, first.Commit(t.Context()), ErrNotEmpty, name)
			assert.Equal(t, "second", read(t, path))
			assert.Equal(t, []string{"out"}, names(t, dir))
		}
	}
}

// An empty file may be somebody's all the same, unless it is the one that was
// seen at the start.
func TestEmptyFileAppeared(t *testing.T) {
	for name, create := range creators {
		for _, existed := range []bool{true, false} {
			dir := t.TempDir()
			path := filepath.Join(dir, "out")
			var old fs.FileInfo
			if existed {
				require.NoError(t, os.WriteFile(path, nil, 0o600))
				var err error
				old, err = os.Stat(path)
				require.NoError(t, err)
			}
			o, err := create(path, old)
			require.NoError(t, err)
			theirs := filepath.Join(dir, "theirs")
			require.NoError(t, os.WriteFile(theirs, nil, 0o600))
			require.NoError(t, os.Rename(theirs, path))
			require.ErrorIs(t, o.Commit(t.Context()), ErrAppeared, name)
			assert.Empty(t, read(t, path))
			assert.Equal(t, []string{"out"}, names(t, dir))
		}
	}
}

func TestEmptyFileRemoved(t *testing.T) {
	for name, create := range creators {
		dir := t.TempDir()
		path := filepath.Join(dir, "out")
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		old, err := os.Stat(path)
		require.NoError(t, err)
		o, err := create(path, old)
		require.NoError(t, err)
		write(t, o, "new")
		require.NoError(t, os.Remove(path))
		require.NoError(t, o.Commit(t.Context()), name)
		assert.Equal(t, "new", read(t, path))
		assert.Equal(t, []string{"out"}, names(t, dir))
	}
}

// The ways of file systems that know no better.
func TestMovesOfPlainFileSystems(t *testing.T) {
	dir := t.TempDir()
	name, target := filepath.Join(dir, "name"), filepath.Join(dir, "target")
	reset := func() {
		require.NoError(t, os.RemoveAll(target))
		require.NoError(t, os.WriteFile(name, []byte("new"), 0o600))
	}
	reset()
	require.NoError(t, moveByLink(name, target))
	assert.Equal(t, "new", read(t, target))
	assert.Equal(t, []string{"target"}, names(t, dir))

	reset()
	require.NoError(t, os.WriteFile(target, []byte("theirs"), 0o600))
	require.ErrorIs(t, moveByLink(name, target), ErrNotEmpty)
	require.ErrorIs(t, moveOver(name, target, nil), ErrNotEmpty)
	assert.Equal(t, "theirs", read(t, target))

	reset()
	require.NoError(t, os.WriteFile(target, nil, 0o600))
	old, err := os.Stat(target)
	require.NoError(t, err)
	require.ErrorIs(t, moveByLink(name, target), ErrAppeared)
	require.NoError(t, moveOver(name, target, old))
	assert.Equal(t, "new", read(t, target))
}

// Two programs that write in place would mix their bytes.
func TestTwoWritersInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	o, err := createInPlace(path)
	require.NoError(t, err)
	_, err = createInPlace(path)
	require.ErrorIs(t, err, ErrBusy)
	write(t, o, "new")
	require.NoError(t, o.Commit(t.Context()))
	assert.Equal(t, "new", read(t, path))
	_, err = createInPlace(path)
	require.ErrorIs(t, err, ErrNotEmpty, "it is looked at again under the lock")
	assert.Equal(t, "new", read(t, path))
}

// Errors name the archive, not the directory where an unnamed file is.
func TestErrorsNameTheArchive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	o, err := Create(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, o.raw.Close())
	_, err = o.File().WriteAt([]byte("x"), 0)
	require.EqualError(t, err, "write "+path+": file already closed")
	isLocal(t, err)
	isLocal(t, o.Abort())

	_, err = Create(t.Context(), filepath.Dir(path))
	isLocal(t, err)
	o, err = Create(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte("theirs"), 0o600))
	isLocal(t, o.Commit(t.Context()))
}

func isLocal(t *testing.T, err error) {
	t.Helper()
	var local *Error
	require.True(t, errors.As(err, &local), err)
}

// After a cancel, the caller does not want the archive any more.
func TestCommitAfterCancel(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	o, err := Create(ctx, filepath.Join(dir, "out"))
	require.NoError(t, err)
	write(t, o, "new")
	cancel()
	require.ErrorIs(t, o.Commit(ctx), context.Canceled)
	assert.Empty(t, names(t, dir))
	_, err = o.raw.Stat()
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = Create(ctx, filepath.Join(dir, "out"))
	require.ErrorIs(t, err, context.Canceled)
}
