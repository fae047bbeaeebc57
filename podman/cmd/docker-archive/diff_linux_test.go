package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// diff reads a compressed layer that two images of an archive share once.
func TestDiffReadsSharedLayersOnce(t *testing.T) {
	noise := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // Never fails.
	base := layerTar(t, regularFile("noise", string(noise)))
	entries := []tarEntry{regularFile("base/layer.tar", string(imagetest.Gzipped(base)))}
	var manifest []map[string]any
	for _, content := range []string{"1", "2"} {
		own := layerTar(t, regularFile("own", content))
		config := inJSON(t, map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + imagetest.Sum(base), "sha256:" + imagetest.Sum(own)}}})
		entries = append(entries, regularFile(content+"/layer.tar", string(own)), regularFile(content+".json", config))
		manifest = append(manifest, map[string]any{"Config": content + ".json", "Layers": []string{"base/layer.tar", content + "/layer.tar"}})
	}
	both := imagetest.WriteFile(t, layerTar(t, append(entries, regularFile("manifest.json", inJSON(t, manifest)))...))
	begun := readBytes(t)
	succeeds(t, "files", both+":@0")
	one := readBytes(t) - begun
	begun = readBytes(t)
	out, errOut, status := command(t, "diff", both+":@0", both+":@1")
	two := readBytes(t) - begun
	assert.Equal(t, 1, status, errOut)
	assert.Contains(t, out, "C /own (content)\n")
	assert.Greater(t, one, int64(len(noise)), "it is compressed")
	assert.Less(t, two, one+int64(len(noise))/2)
}

// readBytes is how many bytes this process has read from files.
func readBytes(t *testing.T) int64 {
	t.Helper()
	data, err := os.ReadFile("/proc/self/io")
	require.NoError(t, err)
	var n int64
	_, err = fmt.Sscanf(string(data), "rchar: %d", &n)
	require.NoError(t, err)
	return n
}
