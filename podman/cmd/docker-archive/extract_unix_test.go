//go:build unix

package main

import (
	"archive/tar"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestExtract(t *testing.T) {
	path := twoLayers(t)
	dir := filepath.Join(t.TempDir(), "root")
	out, _ := succeeds(t, "extract", "--json", path, dir)
	var result extractJSON
	require.NoError(t, json.Unmarshal([]byte(out), &result))
	assert.Equal(t, 3, result.Files)
	data, err := os.ReadFile(filepath.Join(dir, "etc/os-release"))
	require.NoError(t, err)
	assert.Equal(t, "ID=new\n", string(data))
	target, err := os.Readlink(filepath.Join(dir, "out"))
	require.NoError(t, err)
	assert.Equal(t, "../../../../../../etc/passwd", target)
	assert.NoFileExists(t, filepath.Join(dir, "etc/gone"))
	if os.Geteuid() == 0 {
		_, _ = succeeds(t, "diff", "--times", path, dir)
	} else {
		assert.NotEmpty(t, result.NotKept)
	}
	part := filepath.Join(t.TempDir(), "part")
	succeeds(t, "extract", "-q", path, "/etc", part)
	assert.FileExists(t, filepath.Join(part, "os-release"))
	succeeds(t, "extract", "-q", path, "/etc/link", part)
	assert.FileExists(t, filepath.Join(part, "su"))
}

// Nothing is written outside the directory, whatever it and the image contain.
func TestExtractStaysInside(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	dir := t.TempDir()
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "etc")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o700))
	require.NoError(t, os.Symlink(secret, filepath.Join(dir, "bin", "su")))
	require.NoError(t, os.Link(secret, filepath.Join(dir, "null2")))
	image := savedImage(t, nil,
		layerTar(t, regularFile("etc/a", "1"), regularFile("bin/su", "2"), regularFile("null2", "3"), linkTo("esc", outside), linkTo("up", "../../..")),
		layerTar(t, regularFile("esc/b", "4"), regularFile("up/c", "5")))
	succeeds(t, "extract", image, dir)
	left, err := os.ReadDir(outside)
	require.NoError(t, err)
	assert.Len(t, left, 1)
	data, err := os.ReadFile(secret)
	require.NoError(t, err)
	assert.Equal(t, "secret", string(data))
	for name, want := range map[string]string{"etc/a": "1", "bin/su": "2", "null2": "3", "esc/b": "4", "up/c": "5"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, want, string(data))
	}
	hostile := savedImage(t, nil, layerTar(t, regularFile("../../x", "1")))
	_, errOut, status := command(t, "extract", hostile, filepath.Join(dir, "new"))
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "leads out")
	// A link within one layer stays within the image.
	within := savedImage(t, nil, layerTar(t, linkTo("l", outside), tarEntry{tar.Header{Name: "l/x", Typeflag: tar.TypeReg, Mode: 0o600}, "1"}))
	succeeds(t, "extract", within, filepath.Join(dir, "within"))
	assert.FileExists(t, filepath.Join(dir, "within", outside, "x"))
	left, err = os.ReadDir(outside)
	require.NoError(t, err)
	assert.Len(t, left, 1)
}

// A read-only directory is made all the same, and a file does not replace an existing
// directory.
func TestExtractModes(t *testing.T) {
	image := savedImage(t, nil, layerTar(t, tarEntry{tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o555}, ""}, regularFile("d/x", "1"),
		tarEntry{tar.Header{Name: "d/y", Typeflag: tar.TypeLink, Linkname: "d/x"}, ""}, tarEntry{tar.Header{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o600}, ""}))
	dir := t.TempDir()
	succeeds(t, "extract", image, dir)
	info, err := os.Stat(filepath.Join(dir, "d"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o555), info.Mode().Perm())
	one, err := os.Stat(filepath.Join(dir, "d/x"))
	require.NoError(t, err)
	two, err := os.Stat(filepath.Join(dir, "d/y"))
	require.NoError(t, err)
	assert.True(t, os.SameFile(one, two))
	succeeds(t, "extract", image, dir) // Again, over itself.
	other := savedImage(t, nil, layerTar(t, regularFile("d", "1")))
	_, errOut, status := command(t, "extract", other, dir)
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "there is a directory")
	require.NoError(t, os.Chmod(filepath.Join(dir, "d"), 0o755))
}
