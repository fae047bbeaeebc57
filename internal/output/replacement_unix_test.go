//go:build unix

package output

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// leftIn returns the names in a directory.
func leftIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// What a process that was killed has left beside an archive is gone when the next one has
// replaced it, or has given that up.
func TestReplacementIsLeft(t *testing.T) {
	for _, commit := range []bool{true, false} {
		dir := t.TempDir()
		path := filepath.Join(dir, "a.tar")
		require.NoError(t, os.WriteFile(path, []byte("old"), 0o640))
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".a.tar.replacement"), []byte("half"), 0o600))
		o, err := Replace(t.Context(), path, false)
		require.NoError(t, err)
		_, err = o.File().WriteAt([]byte("new"), 0)
		require.NoError(t, err)
		want := "old"
		if commit {
			want = "new"
			require.NoError(t, o.Commit(t.Context()))
		} else {
			require.NoError(t, o.Abort())
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, want, string(data))
		assert.Equal(t, []string{"a.tar"}, leftIn(t, dir))
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	}
}

// Without files that have no name the same happens to one that has.
func TestNamedReplacement(t *testing.T) {
	for _, commit := range []bool{true, false} {
		dir := t.TempDir()
		path := filepath.Join(dir, "a.tar")
		require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
		f, err := os.Create(filepath.Join(dir, ".a.tar.replacement"))
		require.NoError(t, err)
		_, err = f.WriteString("new")
		require.NoError(t, err)
		r := &replacement{file: f, target: path, name: f.Name()}
		want := "old"
		if commit {
			want = "new"
			require.NoError(t, r.replace())
		} else {
			require.NoError(t, r.discard())
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, want, string(data))
		assert.Equal(t, []string{"a.tar"}, leftIn(t, dir))
	}
}

// Whoever has put something else there keeps it, and the replacement is gone.
func TestReplacedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.tar")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
	o, err := Replace(t.Context(), path, false)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path+".theirs", []byte("theirs"), 0o600))
	require.NoError(t, os.Rename(path+".theirs", path))
	require.ErrorIs(t, o.Commit(t.Context()), ErrChanged)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "theirs", string(data))
	assert.Equal(t, []string{"a.tar"}, leftIn(t, dir))
}
