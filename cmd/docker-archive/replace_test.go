package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// An archive is replaced by one that is complete, or stays.
func TestSaveForce(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "a.tar"), filepath.Join(dir, "link.tar")
	succeeds(t, "save", "--force", "-o", path, images+"one")
	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, os.Symlink("a.tar", link))
	old := imagetest.ReadFile(t, path)
	for _, flags := range [][]string{{images + "none"}, {"--keep-going", images + "none"}} {
		_, _, status := command(t, append([]string{"save", "--force", "-o", path}, flags...)...)
		assert.Equal(t, exitFailure, status)
		assert.Equal(t, old, imagetest.ReadFile(t, path))
	}
	succeeds(t, "save", "--force", "-o", link, images+"two")
	out, _ := succeeds(t, "list", path)
	assert.Contains(t, out, "\ntwo ")
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 2, "nothing else is left")
	succeeds(t, "verify", path)
}
