//go:build unix

package output

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The replacement of a process that was killed is gone when the next one has replaced the
// archive, or has given up.
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
		assert.Equal(t, []string{"a.tar"}, names(t, dir))
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
		assert.Equal(t, []string{"a.tar"}, names(t, dir))
	}
}

// If somebody has put another file there, it stays, and the replacement is gone.
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
	assert.Equal(t, []string{"a.tar"}, names(t, dir))
}

// A caller that writes to a path beside the archive has that locked, with its mode, until
// it is replaced; and a failure leaves nothing.
func TestReplaceByPath(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.tar.gz")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o640))
	other, err := Open(t.Context(), path, false)
	require.NoError(t, err)
	_, _, err = ReplaceByPath(t.Context(), path)
	require.ErrorIs(t, err, ErrBusy)
	require.NoError(t, other.Abort())

	failed := errors.New("failed")
	for _, c := range []struct {
		err, want error
		content   string
	}{{failed, failed, "old"}, {nil, nil, "new"}} {
		beside, end, err := ReplaceByPath(t.Context(), path)
		require.NoError(t, err)
		assert.True(t, strings.HasSuffix(beside, ".tar.gz"))
		_, err = Open(t.Context(), path, false)
		require.ErrorIs(t, err, ErrBusy)
		require.NoError(t, os.WriteFile(beside, []byte("new"), 0o600))
		require.ErrorIs(t, end(c.err), c.want)
		assert.Equal(t, c.content, read(t, path))
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o640), info.Mode())
		assert.Equal(t, []string{"a.tar.gz"}, names(t, dir))
	}

	beside, end, err := ReplaceByPath(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(beside, []byte("ours"), 0o600))
	require.NoError(t, os.Rename(path, path+".moved"))
	require.NoError(t, os.WriteFile(path, []byte("theirs"), 0o600))
	require.ErrorIs(t, end(nil), ErrChanged)
	assert.Equal(t, "theirs", read(t, path))

	fresh := filepath.Join(dir, "new.tar")
	same, end, err := ReplaceByPath(t.Context(), fresh)
	require.NoError(t, err)
	assert.Equal(t, fresh, same)
	require.NoError(t, end(nil))
}
