package serving

import (
	"strconv"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/archive"
)

// However many manifests are asked for, no more are kept than may be.
func TestDocumentsKept(t *testing.T) {
	var k documents
	for n := range 1000 {
		key := documentKey{digest: digest.Digest(strconv.Itoa(n))}
		m := &archive.Manifest{Data: make([]byte, 10_000)}
		k.keep(key, m)
		got, err := k.get(t.Context(), nil, key.digest) // Nothing is read, or this would panic.
		require.NoError(t, err)
		assert.Same(t, m, got)
		assert.LessOrEqual(t, len(k.all)*10_000, maxKept)
	}
	assert.Greater(t, len(k.all), 50)
}
