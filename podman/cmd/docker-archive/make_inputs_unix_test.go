//go:build unix

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// No value stays of a variable that a base has twice, and labels that are no strings stay.
func TestMakeKeepsOddConfigs(t *testing.T) {
	config := map[string]any{"config": map[string]any{"Env": []string{"A=1", "B=2", "A=3"}, "Labels": map[string]any{"n": 1, "s": "x"}}}
	base := savedImage(t, config, layerTar(t, regularFile("a", "1")))
	run := makes(t, "--base", "docker-archive:"+base, "-e", "A=4", "--label", "l=1").run
	assert.Equal(t, []any{"A=4", "B=2"}, run["Env"])
	assert.Equal(t, map[string]any{"n": 1.0, "s": "x", "l": "1"}, run["Labels"])
}

// Layers in xz and bzip2 have no media type: they are compressed again, and a
// message says so.
func TestMakeCompressesAgain(t *testing.T) {
	plain := layerTar(t, regularFile("a", "1"))
	for name, layer := range map[string][]byte{"xz": imagetest.XZ(plain), "bzip2": imagetest.Bzip2().Blob} {
		path := filepath.Join(t.TempDir(), "layer")
		require.NoError(t, os.WriteFile(path, layer, 0o600))
		out := filepath.Join(t.TempDir(), "made.tar")
		_, stderr, status := runMake(t, nil, "--layer", path, "-o", out)
		require.Zero(t, status, stderr)
		assert.Contains(t, stderr, "comes in "+name+", for which there is no media type: it is compressed again")
		succeeds(t, "verify", out)
	}
}

// A file of the future does not make an image of the future.
func TestMakeOfTheFuture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "late")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	late := time.Date(2242, 1, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(t, os.Chtimes(path, late, late))
	before := time.Now()
	out := filepath.Join(t.TempDir(), "made.tar")
	_, stderr, status := runMake(t, nil, "--add", path+":/late", "-o", out)
	require.Zero(t, status, stderr)
	assert.Contains(t, stderr, "2242")
	config, _ := succeeds(t, "inspect", "--format", "{{.Created}}", out)
	assert.NotContains(t, config, "2242")
	assert.Contains(t, config, before.UTC().Format("2006"))
}
