package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
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

// The same goes for copy, which adds to the archive without --force.
func TestCopyForce(t *testing.T) {
	for _, transport := range []string{"docker-archive", "image-archive"} {
		t.Run(transport, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "a.tar")
			to := transport + ":" + path
			succeeds(t, "copy", "-q", "--force", "--no-sync", images+"one", to+":one:1")
			require.NoError(t, os.Chmod(path, 0o600))
			old := imagetest.ReadFile(t, path)
			_, _, status := command(t, "copy", "-q", "--force", images+"none", to+":two:1")
			assert.Equal(t, exitFailure, status)
			assert.True(t, bytes.Equal(old, imagetest.ReadFile(t, path)))
			succeeds(t, "copy", "-q", "--force", images+"two", to+":two:1")
			out, _ := succeeds(t, "list", "-q", path)
			assert.Equal(t, "docker.io/library/two:1\n", out)
			succeeds(t, "copy", "-q", "--force", images+"one", to)
			info, err := os.Stat(path)
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o600), info.Mode())
			assert.Equal(t, []string{"a.tar"}, imagetest.Leftovers(t, dir))
			succeeds(t, "verify", path)
		})
	}
	dir := filepath.Join(t.TempDir(), "dir")
	succeeds(t, "copy", "-q", "--force", images+"one", "dir:"+dir)
}
