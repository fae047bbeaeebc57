package spool

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDir(t *testing.T) {
	t.Setenv("TMPDIR", "/from/environment")
	assert.Equal(t, "/preferred", Dir("/preferred"))
	assert.Equal(t, "/from/environment", Dir(""))
	t.Setenv("TMPDIR", "")
	assert.Equal(t, systemDir(), Dir(""))
	assert.DirExists(t, systemDir())
}

// testFile writes to a file in dir, reads it again, and closes it.
func testFile(t *testing.T, f interface {
	io.WriterAt
	io.ReaderAt
	io.Closer
}) {
	t.Helper()
	_, err := f.WriteAt([]byte("hello"), 0)
	require.NoError(t, err)
	got, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
	require.NoError(t, err)
	assert.Equal(t, "hello", string(got))
	require.NoError(t, f.Close())
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(dir)
	require.NoError(t, err)
	testFile(t, f)
	assertEmpty(t, dir)
}

func TestCreateFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	_, err := Create(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "creating a temporary file in "+dir)
}

func assertEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}
