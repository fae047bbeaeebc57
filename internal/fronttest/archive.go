package fronttest

import (
	"path/filepath"
	"testing"

	"github.com/distribution/reference"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// Ours returns the archive that a Writer writes of the images.
func Ours(t testing.TB, images ...imagetest.Named) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ours.tar")
	w, err := dockerarchive.NewWriter(nil, path)
	require.NoError(t, err)
	for _, image := range images {
		ref, err := w.NewReference(imagetest.Tagged(t, image.Name))
		require.NoError(t, err)
		require.NoError(t, imagetest.Copy(t, ref, image.Source, image.Options(t)))
	}
	require.NoFileExists(t, path)
	require.NoError(t, w.Close())
	return imagetest.ReadFile(t, path)
}

// Write writes an archive of the images to path.
func Write(t testing.TB, path string, images ...imagetest.Named) {
	t.Helper()
	w, err := dockerarchive.NewWriter(nil, path)
	require.NoError(t, err)
	for _, image := range images {
		var name reference.NamedTagged
		if image.Name != "" {
			name = imagetest.Tagged(t, image.Name)
		}
		ref, err := w.NewReference(name)
		require.NoError(t, err)
		require.NoError(t, imagetest.Copy(t, ref, image.Source, image.Options(t)))
	}
	require.NoError(t, w.Close())
}
