package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Archives of which one client or the other loads an image that nobody has signed.
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
