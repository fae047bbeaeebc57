package saving

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/writing"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// A full disk ends Save, also with KeepGoing, and the error says how much is needed.
func TestFullDiskIsExplained(t *testing.T) {
	m := imagetest.NewImage(t, "x", imagetest.Gzip(1, 200_000))
	s, err := newSaver([]selecting.Wanted{{Source: m}}, Options{Select: selecting.Options{Policy: imagetest.Trusting(t), KeepGoing: true}})
	require.NoError(t, err)
	defer s.from.Close()
	require.NoError(t, s.from.Read(t.Context()))
	path := filepath.Join(t.TempDir(), "saved.tar")
	out, err := output.Create(t.Context(), path)
	require.NoError(t, err)
	defer out.Abort()

	full := fmt.Errorf("writing: %w", syscall.ENOSPC)
	assert.True(t, s.from.Fetcher.Fatal(full))
	err = s.explain(full, path, out)
	require.ErrorIs(t, err, syscall.ENOSPC)
	need, known, sizeErr := writing.Space(s.from.Layout, s.from.Plan())
	require.NoError(t, sizeErr)
	assert.True(t, known)
	assert.Greater(t, need, int64(len(m.Layers[0].Blob)))
	require.ErrorContains(t, err, fmt.Sprintf("the disk is too small for %s: the archive needs at least %d bytes", path, need))

	other := fmt.Errorf("writing: %w", syscall.EACCES)
	assert.Equal(t, other, s.explain(other, path, out))
	assert.False(t, s.from.Fetcher.Fatal(other), "it may be of one image only")
	assert.True(t, s.from.Fetcher.Fatal(fmt.Errorf("writing: %w", &output.Error{Err: syscall.EIO})))
}
