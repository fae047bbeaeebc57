//go:build unix

package spool

import (
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A file has no name while it is open, on file systems without O_TMPFILE too.
func TestNameless(t *testing.T) {
	dir := t.TempDir()
	created, err := Create(dir)
	require.NoError(t, err)
	assertEmpty(t, dir)
	require.NoError(t, created.Close())

	f, err := createUnlinked(dir)
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode())
	assertEmpty(t, dir)
	testFile(t, f)
	_, err = createUnlinked(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}
