//go:build unix

package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// A delta has the same bytes on standard output as in a file: it is made in a
// temporary one.
func TestSaveDeltaToStandardOutput(t *testing.T) {
	m := newMonths(t, gzip.DefaultCompression)
	m.run(t, 0, "save", "-q", "--delta", m.january, "-o", m.delta, "image-archive:"+m.february)
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "--insecure-policy", "save", "-q", "--delta", m.january, "-o", "-", "image-archive:"+m.february)
	cmd.Env = append(os.Environ(), processVariable+"=1")
	out, err := cmd.Output()
	require.NoError(t, err)
	assert.True(t, bytes.Equal(imagetest.ReadFile(t, m.delta), out))
}

// A delta in parts is one: it is verified, and added, by any of its parts.
func TestSaveDeltaInParts(t *testing.T) {
	m := newMonths(t, gzip.DefaultCompression)
	m.february = m.path("large.tar")
	saved(t, m.february, "3", treeLayer(t, gzip.DefaultCompression, seeds(40, 1000, 7, 23)...), imagetest.Plain(98, 3<<20))
	m.run(t, 0, "save", "-q", "--force", "-o", m.both, "image-archive:"+m.january, "image-archive:"+m.february)
	m.run(t, 0, "save", "-q", "--split", "1MiB", "--delta", m.january, "-o", m.path("parts.tar"), "image-archive:"+m.february)
	parts, err := filepath.Glob(m.path("parts.tar.*"))
	require.NoError(t, err)
	require.Greater(t, len(parts), 2)
	m.run(t, exitLeftOut, "verify", m.path("parts.tar.001"))
	m.run(t, 0, "verify", "--base", m.january, m.path("parts.tar.001"))
	m.run(t, 0, "add", "-q", m.january, "image-archive:"+m.path("parts.tar.000"))
	m.run(t, 0, "verify", m.january)
	m.run(t, 0, "compact", m.january)
	assertSame(t, m.both, m.january)
}

// An index of several platforms keeps its digest, with a delta for each platform.
func TestSaveDeltaOfIndex(t *testing.T) {
	m := newMonths(t, gzip.DefaultCompression)
	reg := imagetest.NewRegistry(t)
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for n, architecture := range []string{"amd64", "arm64"} {
		layer := treeLayer(t, gzip.DefaultCompression, seeds(40, 1000+uint64(n), 7, 23)...)
		config := v1.Image{Platform: v1.Platform{OS: "linux", Architecture: architecture}, RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.DiffID()}}}
		img := imagetest.NewImageOfConfig(t, config, layer)
		reg.Push(t, "app:"+architecture, img)
		index.Manifests = append(index.Manifests, v1.Descriptor{MediaType: img.MIMEType, Digest: img.Digest(), Size: int64(len(img.Raw)), Platform: &config.Platform})
	}
	raw, err := json.Marshal(index)
	require.NoError(t, err)
	reg.PutManifest(t, "app", "all", v1.MediaTypeImageIndex, raw)
	all := []string{"save", "-q", "--tls-verify=false", "--all-platforms", "docker://" + reg.Address + "/app:all", "-o"}
	m.run(t, 0, append(slices.Clone(all), m.path("whole.tar"))...)
	m.run(t, 0, append(slices.Clone(all), m.delta, "--delta", m.january)...)
	assert.Less(t, sizeOf(t, m.delta), sizeOf(t, m.path("whole.tar"))/4)
	m.run(t, exitLeftOut, "verify", m.delta)
	m.run(t, 0, "save", "-q", "--all-platforms", "--base", m.january, "-o", m.path("again.tar"), "image-archive:"+m.delta)
	assertSame(t, m.path("whole.tar"), m.path("again.tar"))
	out, _ := m.run(t, 0, "list", "--json", m.path("again.tar"))
	assert.Contains(t, out, digest.FromBytes(raw).String())
}

// save --resume continues a delta that was cut off, and verifies the content
// of the partial file.
func TestSaveDeltaResumes(t *testing.T) {
	m := newMonths(t, gzip.DefaultCompression)
	m.run(t, 0, "save", "-q", "--delta", m.january, "-o", m.delta, "image-archive:"+m.february)
	whole := imagetest.ReadFile(t, m.delta)
	spoilt := slices.Clone(whole)
	for at := 1500; at < len(spoilt); at += 700 {
		spoilt[at] ^= 1
	}
	path := m.path("resumed.tar")
	for _, left := range [][]byte{nil, whole[:len(whole)/2], whole, spoilt[:len(spoilt)/2], spoilt, append(slices.Clone(whole), "more"...)} {
		require.NoError(t, os.WriteFile(path+".partial", left, 0o644))
		m.run(t, 0, "save", "-q", "--resume", "--delta", m.january, "-o", path, "image-archive:"+m.february)
		assertSame(t, m.delta, path)
		assert.NoFileExists(t, path+".partial")
		require.NoError(t, os.Remove(path))
	}
}
