package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/forging"
)

// Some client loads an unsigned image from each of these archives.
func TestVerifyKeyRefuses(t *testing.T) {
	for name, c := range map[string]struct{ withKey, without string }{
		"signed-index-and-another-image": {"the archive has no manifest of it that a signature could be of", "which index.json does not have under that name"},
		"child-called-attestation":       {"linux/amd64: the archive has no signature of", ""},
	} {
		path := cases + name + ".tar"
		out, _, status := command(t, "verify", "--key", cases+name+".pub", path)
		assert.Equal(t, exitFailure, status, name)
		assert.Contains(t, out, c.withKey)
		out, _, status = command(t, "verify", path)
		assert.Contains(t, out, c.without)
		if c.without != "" {
			assert.Equal(t, exitFailure, status, name)
		}
	}
}

// A delta is signed if its manifests are, and is a delta with a key as without one.
func TestVerifyKeyOfDelta(t *testing.T) {
	s := newSignedImage(t)
	full := s.save(t)
	delta := s.save(t, "--referrers", "--without", full)
	key := filepath.Join(t.TempDir(), "cosign.pub")
	require.NoError(t, os.WriteFile(key, s.public, 0o600))
	for _, args := range [][]string{{"verify", delta}, {"verify", "--key", key, delta}, {"verify", "--json", "--key", key, delta}} {
		out, _, status := command(t, args...)
		assert.Equal(t, exitLeftOut, status, out)
	}
	_, _, status := command(t, "verify", "--key", key, s.save(t, "--without", full))
	assert.Equal(t, exitFailure, status, "without signatures it is no signed delta")
}

// Each variant that a model of a client was fooled by is refused by the command too.
func TestVerifyKeyOfHostileArchives(t *testing.T) {
	signed := forging.Archives(t)[0]
	dir := t.TempDir()
	key, path := filepath.Join(dir, "cosign.pub"), filepath.Join(dir, "archive.tar")
	require.NoError(t, os.WriteFile(key, signed.Public, 0o600))
	require.NoError(t, os.WriteFile(path, signed.Good, 0o600))
	out, _ := succeeds(t, "verify", "--key", key, path)
	assert.Contains(t, out, path)
	refused := 0
	for _, v := range signed.Variants {
		require.NoError(t, os.WriteFile(path, v.Data, 0o600))
		if _, _, status := command(t, "verify", "--key", key, path); status == exitFailure {
			refused++
		}
	}
	assert.Greater(t, refused, len(signed.Variants)*3/4)
}

// Flags that need a key say so.
func TestVerifyFlagsNeedKey(t *testing.T) {
	for _, flag := range []string{"--signed-as", "--attestation", "--trusted-root"} {
		_, errOut, status := command(t, "verify", flag, "x", cases+"tag-only.tar")
		assert.Equal(t, exitUsage, status)
		assert.Contains(t, errOut, flag+" needs --key")
	}
}
