//go:build unix

package output

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func write(t *testing.T, o *Output, data string) {
	t.Helper()
	_, err := o.raw.WriteString(data)
	require.NoError(t, err)
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

// names returns the names in a directory, temporary files included.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestAppearsAtCommit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	o, err := Create(t.Context(), path)
	require.NoError(t, err)
	assert.False(t, o.Stream())
	write(t, o, "new")
	require.NoFileExists(t, path)
	require.NoError(t, o.Commit(t.Context()))
	assert.Equal(t, "new", read(t, path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o644)&^umask(), info.Mode())
	require.NoError(t, o.Abort(), "after Commit it does nothing")
	assert.Equal(t, []string{"out"}, names(t, dir))
}

func TestAbortLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	o, err := Create(t.Context(), filepath.Join(dir, "out"))
	require.NoError(t, err)
	write(t, o, "new")
	require.NoError(t, o.Abort())
	assert.Empty(t, names(t, dir))
	require.ErrorIs(t, o.Commit(t.Context()), fs.ErrClosed)
}

// The way of file systems without O_TMPFILE, and of other systems.
func TestNamedTemporaryFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	o, err := createNamed(path, nil)
	require.NoError(t, err)
	write(t, o, "new")
	require.NoFileExists(t, path)
	require.NoError(t, o.Commit(t.Context()))
	assert.Equal(t, "new", read(t, path))
	assert.Equal(t, []string{"out"}, names(t, dir))

	o, err = createNamed(filepath.Join(dir, "other"), nil)
	require.NoError(t, err)
	require.NoError(t, o.Abort())
	assert.Equal(t, []string{"out"}, names(t, dir))
}

func TestNotEmptyIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
	_, err := Create(t.Context(), path)
	require.ErrorIs(t, err, ErrNotEmpty)
	assert.Equal(t, "old", read(t, path))
}

// Somebody else writes to the path between Create and Commit.
func TestAppearedMeanwhile(t *testing.T) {
	for _, create := range []func(string, fs.FileInfo) (*Output, error){createBeside, createNamed} {
		dir := t.TempDir()
		path := filepath.Join(dir, "out")
		o, err := create(path, nil)
		require.NoError(t, err)
		write(t, o, "new")
		require.NoError(t, os.WriteFile(path, []byte("theirs"), 0o600))
		require.ErrorIs(t, o.Commit(t.Context()), ErrNotEmpty)
		assert.Equal(t, "theirs", read(t, path))
		assert.Equal(t, []string{"out"}, names(t, dir))
	}
}

func TestEmptyIsReplaced(t *testing.T) {
	for _, create := range []func(string, fs.FileInfo) (*Output, error){createBeside, createNamed} {
		dir := t.TempDir()
		path := filepath.Join(dir, "out")
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		info, err := os.Stat(path)
		require.NoError(t, err)
		o, err := create(path, info)
		require.NoError(t, err)
		write(t, o, "new")
		assert.Empty(t, read(t, path))
		require.NoError(t, o.Commit(t.Context()))
		assert.Equal(t, "new", read(t, path))
		info, err = os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o600), info.Mode())
		assert.Equal(t, []string{"out"}, names(t, dir))
	}
}

func TestInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	for _, commit := range []bool{false, true} {
		o, err := createInPlace(path)
		require.NoError(t, err)
		assert.Empty(t, o.Dir(), "nothing can be made beside the file")
		write(t, o, "new")
		if commit {
			require.NoError(t, o.Commit(t.Context()))
			assert.Equal(t, "new", read(t, path))
		} else {
			require.NoError(t, o.Abort())
			assert.Empty(t, read(t, path))
		}
	}
}

func TestSymlinksAreFollowed(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(filepath.Join(other, "middle"), link))
	require.NoError(t, os.Symlink("target", filepath.Join(other, "middle")))
	o, err := Create(t.Context(), link)
	require.NoError(t, err)
	assert.Equal(t, other, filepath.Clean(o.Dir()))
	write(t, o, "new")
	require.NoError(t, o.Commit(t.Context()))
	assert.Equal(t, "new", read(t, filepath.Join(other, "target")))

	require.NoError(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	_, err = Create(t.Context(), filepath.Join(dir, "loop"))
	require.ErrorContains(t, err, "symbolic links")
}

// A link is relative to its own directory, by any path to it, and ".." is the
// parent of the directory that a link leads to.
func TestLinkedDirectories(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for _, name := range []string{"parent", "parent/child"} {
		require.NoError(t, os.Mkdir(filepath.Join(other, name), 0o700))
	}
	require.NoError(t, os.Symlink(filepath.Join(other, "parent", "child"), filepath.Join(dir, "linked")))
	require.NoError(t, os.Symlink("../target", filepath.Join(other, "parent", "child", "up")))
	for _, path := range []string{"/linked/up", "/linked/../target", "/linked/../child/up"} {
		o, err := Create(t.Context(), dir+path)
		require.NoError(t, err)
		write(t, o, "new")
		require.NoError(t, o.Commit(t.Context()))
		assert.Equal(t, []string{"linked"}, names(t, dir))
		require.Equal(t, "new", read(t, filepath.Join(other, "parent", "target")), path)
		require.NoError(t, os.Remove(filepath.Join(other, "parent", "target")))
	}
}

func TestImpossibleTargets(t *testing.T) {
	dir := t.TempDir()
	_, err := Create(t.Context(), dir)
	require.ErrorContains(t, err, "is a directory")
	_, err = Create(t.Context(), filepath.Join(dir, "missing", "out"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = Create(t.Context(), "")
	require.ErrorContains(t, err, "empty")
}

func TestDevice(t *testing.T) {
	o, err := Create(t.Context(), os.DevNull)
	require.NoError(t, err)
	assert.True(t, o.Stream())
	write(t, o, "new")
	require.NoError(t, o.Commit(t.Context()))
}

func TestInheritedDescriptor(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	o, err := Create(t.Context(), fmt.Sprintf("/dev/fd/%d", w.Fd()))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	assert.True(t, o.Stream())
	write(t, o, "new")
	require.NoError(t, o.Commit(t.Context()))
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, "new", string(b))
}

// A link to standard output, in any form, is standard output.
func TestLinkToInheritedDescriptor(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(fmt.Sprintf("/dev/fd/%d", w.Fd()), link))
	o, err := Create(t.Context(), link)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	assert.True(t, o.Stream())
	write(t, o, "new")
	require.NoError(t, o.Commit(t.Context()))
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, "new", string(b))
}
