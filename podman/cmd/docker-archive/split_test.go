package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"4G": 4_000_000_000, "4GB": 4_000_000_000, "4g": 4_000_000_000, "4GiB": 4 << 30, "4Gi": 4 << 30, "700M": 700_000_000,
		"700MiB": 700 << 20, "1.5G": 1_500_000_000, "4.7GB": 4_700_000_000, "2097152": 2 << 20, "1T": 1_000_000_000_000,
	} {
		got, err := parseSize(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "G", "4X", "-1G", "4 Gibberish"} {
		_, err := parseSize(text)
		require.Error(t, err, text)
	}
}

// An archive in parts is read by every command, and written only where that makes sense.
func TestSplit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.tar")
	const source = "oci:../../../testdata/oci:one=app:1"
	for _, args := range [][]string{
		{"--split", "1M", "-o", path}, {"--split", "some", "-o", path}, {"--split", "-1G", "-o", path}, {"--split", "4G"},
		{"--split", "4G", "-o", path, "--force"}, {"--split", "4G", "-o", path, "--sha256"},
	} {
		_, _, status := command(t, append([]string{"save", source}, args...)...)
		assert.Equal(t, exitUsage, status, args)
	}
	succeeds(t, "save", "-q", "--split", "4G", "-o", path, source)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.Equal(t, "x.tar.000", entries[0].Name())
	for _, archive := range []string{dir, path + ".000"} {
		succeeds(t, "list", archive)
		succeeds(t, "verify", archive)
		succeeds(t, "inspect", archive)
		succeeds(t, "save", "-q", "-o", filepath.Join(t.TempDir(), "s.tar"), "docker-archive:"+archive)
		succeeds(t, "copy", "-q", "docker-archive:"+archive, "oci:"+t.TempDir()+":app:1")
	}
	to := filepath.Join(t.TempDir(), "to.tar")
	succeeds(t, "save", "-q", "-o", to, source)
	succeeds(t, "add", "-q", to, "docker-archive:"+path+".000=app:2")
	for _, args := range [][]string{{"add", path + ".000", source}, {"remove", path + ".000", "app:1"}, {"compact", dir}} {
		_, stderr, status := command(t, args...)
		assert.Equal(t, exitFailure, status)
		assert.Contains(t, stderr, "join them", args)
	}
	_, stderr, _ := command(t, "save", "--split", "4G", "-o", path, source)
	assert.Contains(t, stderr, "x.tar.000 is there")
	assert.NotContains(t, stderr, "--force")
}
