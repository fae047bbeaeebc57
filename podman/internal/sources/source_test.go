package sources

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// Blobs of local images are read concurrently, but this must not hide sigstore
// signatures that a policy may ask for from copy.Image.
func TestConcurrentSources(t *testing.T) {
	dir := t.TempDir()
	ref, err := directory.NewReference(dir)
	require.NoError(t, err)
	require.NoError(t, imagetest.Copy(t, ref, imagetest.Saved(t, "one"), nil))
	open := func(ref types.ImageReference) (src, wrapped types.ImageSource) {
		src, err := ref.NewImageSource(t.Context(), nil)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, src.Close()) })
		return src, Concurrently(src)
	}
	for _, ref := range []types.ImageReference{ref, imagetest.Saved(t, "one")} {
		src, wrapped := open(ref)
		assert.NotEqual(t, src, wrapped)
		assert.True(t, wrapped.HasThreadSafeGetBlob())
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "signature-1"), []byte("s"), 0o600))
	src, wrapped := open(ref)
	assert.Equal(t, src, wrapped, "an image with signatures")
	archive, err := dockerarchive.NewReference(imagetest.Testdata(t, "archives", "skopeo.tar"), nil)
	require.NoError(t, err)
	src, wrapped = open(archive)
	assert.Equal(t, src, wrapped, "what is safe already")
}
