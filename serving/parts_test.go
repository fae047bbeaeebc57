package serving_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/internal/output"
)

// An archive in parts is one archive of a directory: served when complete, and not before the
// missing part comes.
func TestServesParts(t *testing.T) {
	img := imagetest.NewImage(t, "one", imagetest.Plain(1, 3<<20), imagetest.Plain(2, 1000))
	data := newLayout(t).add(img, "team/app:1").bytes()
	dir, elsewhere := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "a.tar")
	writeParts(t, path, data)
	last := "a.tar.003"
	require.FileExists(t, filepath.Join(dir, last))
	require.NoError(t, os.Rename(filepath.Join(dir, last), filepath.Join(elsewhere, last)))

	s := serve(t, dir)
	assert.Equal(t, http.StatusNotFound, s.status("team/app/manifests/1"))
	require.NoError(t, os.Rename(filepath.Join(elsewhere, last), filepath.Join(dir, last)))
	s.Refresh(t.Context())
	assert.Equal(t, img.Raw, s.get("team/app/manifests/1"))
	for _, l := range img.Layers {
		assert.Equal(t, l.Blob, s.get("team/app/blobs/"+l.Digest.String()))
	}
	_, archives := s.Images()
	assert.Equal(t, 1, archives)
}

// writeParts writes an archive in parts of 1 MiB.
func writeParts(t *testing.T, path string, data []byte) {
	t.Helper()
	out, err := output.CreateSplit(t.Context(), path, 1<<20)
	require.NoError(t, err)
	_, err = out.RandomAccess().WriteAt(data, 0)
	require.NoError(t, err)
	require.NoError(t, out.RandomAccess().Truncate(int64(len(data))))
	require.NoError(t, out.Commit(t.Context()))
}
