package archive_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/archive"
)

// A manifest has the digest that it says, be it stored, made, or made because the one that
// is stored is not to be believed, and is found by it.
func TestManifestsAreFoundByTheirDigests(t *testing.T) {
	for _, pattern := range []string{"archives/*", "cases/*"} {
		paths, err := filepath.Glob(filepath.Join(testdata, pattern))
		require.NoError(t, err)
		for _, path := range paths {
			a, err := archive.Open(t.Context(), path)
			if err != nil {
				continue // None that has images.
			}
			for _, img := range a.Images() {
				m, err := img.Manifest(t.Context())
				if err != nil {
					continue
				}
				assert.Equal(t, m.Digest.Algorithm().FromBytes(m.Data), m.Digest, path)
				again, err := img.Instance(t.Context(), m.Digest)
				require.NoError(t, err, path)
				assert.Equal(t, m.Data, again.Data, path)
				assert.Equal(t, m.Made, again.Made, path)
			}
			require.NoError(t, a.Close())
		}
	}
}
