//go:build unix

package output

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is gone on with stays after a failure, is nobody else's meanwhile, and gets the
// archive's name at the end.
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

// What is gone on with is on the disk before it gets the name, and the name afterwards.
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

// What the disk has not taken is nothing to go on with.
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
