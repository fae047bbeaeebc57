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

// A partial file stays after a failure, is locked meanwhile, and gets the archive's
// name at the end.
func TestPartial(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tar")
	o, err := CreatePartial(t.Context(), path)
	require.NoError(t, err)
	_, err = CreatePartial(t.Context(), path)
	require.ErrorIs(t, err, ErrBusy)
	require.NoError(t, o.Abort())
	assert.Empty(t, names(t, filepath.Dir(path)), "an empty one is of no use")

	o, err = CreatePartial(t.Context(), path)
	require.NoError(t, err)
	_, err = o.File().WriteAt([]byte("half"), 0)
	require.NoError(t, err)
	require.NoError(t, o.Abort())
	assert.Equal(t, []string{"a.tar.partial"}, names(t, filepath.Dir(path)))

	o, err = CreatePartial(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, o.Renew(func(old, renewed *File) error {
		data := make([]byte, 4)
		_, err := old.ReadAt(data, 0)
		require.NoError(t, err)
		_, err = renewed.WriteAt(append(data, " moved"...), 0)
		return err
	}))
	require.NoError(t, o.Commit(t.Context()))
	assert.Equal(t, []string{"a.tar"}, names(t, filepath.Dir(path)))
	assert.Equal(t, "half moved", read(t, path))
	_, err = CreatePartial(t.Context(), path)
	require.ErrorIs(t, err, ErrNotEmpty)
}

// A partial file is on the disk before it gets the archive's name, and the name
// afterwards.
func TestPartialIsSynced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tar")
	require.NoError(t, os.WriteFile(path+PartialSuffix, []byte("archive"), 0o600))
	seen := recordSyncs(t, path, nil, nil)
	o, err := CreatePartial(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, o.Commit(t.Context()))
	assert.Equal(t, []string{"file before the name", "directory"}, *seen)

	*seen = nil
	require.NoError(t, os.Rename(path, path+PartialSuffix))
	o, err = CreatePartial(t.Context(), path)
	require.NoError(t, err)
	o.NoSync()
	require.NoError(t, o.Commit(t.Context()))
	assert.Empty(t, *seen)
}

// A partial file that the disk has not taken cannot be continued.
func TestPartialThatCannotBeSynced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tar")
	require.NoError(t, os.WriteFile(path+PartialSuffix, []byte("archive"), 0o600))
	failure := errors.New("input/output error")
	recordSyncs(t, path, failure, nil)
	o, err := CreatePartial(t.Context(), path)
	require.NoError(t, err)
	require.ErrorIs(t, o.Commit(t.Context()), failure)
	assert.Empty(t, names(t, filepath.Dir(path)))
}

// Names that can be guessed lead to no file of somebody else.
func TestPartialFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "a.tar"), filepath.Join(t.TempDir(), "victim")
	require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o600))
	for _, to := range []string{victim, filepath.Join(t.TempDir(), "none")} {
		require.NoError(t, os.Symlink(to, path+PartialSuffix))
		_, err := CreatePartial(t.Context(), path)
		require.ErrorContains(t, err, "is not a regular file")
		require.NoError(t, os.Remove(path+PartialSuffix))
	}

	o, err := CreatePartial(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, os.Symlink(victim, path+PartialSuffix+renewedSuffix))
	require.NoError(t, o.Renew(func(_, renewed *File) error {
		_, err := renewed.WriteAt([]byte("x"), 0)
		return err
	}))
	require.NoError(t, o.Abort())
	assert.Equal(t, "precious", read(t, victim))
}

// A file with a second name is somebody's content, which is not written over.
func TestPartialWithTwoNames(t *testing.T) {
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "a.tar"), filepath.Join(dir, "victim")
	for _, content := range []string{"precious", ""} {
		require.NoError(t, os.WriteFile(victim, []byte(content), 0o640))
		require.NoError(t, os.Link(victim, path+PartialSuffix))
		_, err := CreatePartial(t.Context(), path)
		require.ErrorIs(t, err, ErrForeign)
		require.ErrorContains(t, err, "has 2 names")
		assert.Equal(t, content, read(t, victim))
		assert.Equal(t, os.FileMode(0o640), mode(t, victim))
		require.NoError(t, os.Remove(path+PartialSuffix))
		require.NoError(t, os.Remove(victim))
	}
}

// A file of another user would stay his as the archive. If all files belong to
// somebody, as on media without owners, it is as good as one's own.
func TestPartialOfAnotherUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tar")
	require.NoError(t, os.WriteFile(path+PartialSuffix, []byte("theirs"), 0o600))
	owned(t, func(name string) bool { return strings.HasSuffix(name, PartialSuffix) })
	_, err := CreatePartial(t.Context(), path)
	require.ErrorIs(t, err, ErrForeign)
	require.ErrorContains(t, err, "belongs to user 4242")
	assert.Equal(t, "theirs", read(t, path+PartialSuffix))
	assert.Equal(t, []string{"a.tar.partial"}, names(t, filepath.Dir(path)))

	owned(t, func(string) bool { return true })
	o, err := CreatePartial(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, o.Abort())
	assert.Equal(t, "theirs", read(t, path+PartialSuffix))
	assert.Equal(t, []string{"a.tar.partial"}, names(t, filepath.Dir(path)))
}

// owned has files belong to user 4242.
func owned(t *testing.T, files func(name string) bool) {
	real := ownerOf
	t.Cleanup(func() { ownerOf = real })
	ownerOf = func(info fs.FileInfo) int {
		if files(info.Name()) {
			return 4242
		}
		return os.Geteuid()
	}
}

// A partial file of any mode becomes an archive with the mode of any other.
func TestPartialGetsMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tar")
	require.NoError(t, os.WriteFile(path+PartialSuffix, []byte("half"), 0o600))
	require.NoError(t, os.Chmod(path+PartialSuffix, 0o666|os.ModeSetgid))
	o, err := CreatePartial(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, o.Commit(t.Context()))
	assert.Equal(t, 0o644&^umask(), mode(t, path))
}

// A file that replaces the partial one at the last moment does not become the archive.
func TestPartialReplacedAtTheLastMoment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tar")
	o, err := CreatePartial(t.Context(), path)
	require.NoError(t, err)
	write(t, o, "ours")
	require.NoError(t, os.Remove(path+PartialSuffix))
	require.NoError(t, os.WriteFile(path+PartialSuffix, []byte("theirs"), 0o600))
	require.ErrorIs(t, o.Commit(t.Context()), ErrChanged)
	assert.Equal(t, []string{"a.tar.partial"}, names(t, filepath.Dir(path)))
	assert.Equal(t, "theirs", read(t, path+PartialSuffix))
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Mode()
}
