package e2e_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/fronttest"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// uncompressed returns a copy of an image with its layers uncompressed.
func uncompressed(t *testing.T, src types.ImageReference) types.ImageReference {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ours.tar")
	plain, err := archive.NewReference(path, nil)
	require.NoError(t, err)
	require.NoError(t, imagetest.Copy(t, plain, src, nil))
	dir, err := directory.NewReference(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, imagetest.Copy(t, dir, plain, &copy.Options{DestinationCtx: &types.SystemContext{DirForceDecompress: true, BlobInfoCacheDir: imagetest.Isolated().BlobInfoCacheDir}}))
	return dir
}

func TestSameBytesAsContainersImage(t *testing.T) {
	one, two := imagetest.Saved(t, "one"), imagetest.Saved(t, "two")
	for name, images := range map[string][]imagetest.Named{
		"named":            {{Source: one, Name: "example.com/one:1"}},
		"unnamed":          {{Source: one}},
		"short name":       {{Source: two, Name: "two"}},
		"additional names": {{Source: two, Name: "two:1", Additional: []string{"two:2", "example.com/two:3", "two:1"}}},
		"several":          {{Source: one, Name: "one:1"}, {Source: two, Name: "two:2"}},
		"other order":      {{Source: two, Name: "two:2"}, {Source: one}},
		"uncompressed":     {{Source: uncompressed(t, one), Name: "one"}},
		"mixed":            {{Source: uncompressed(t, one), Name: "one"}, {Source: two}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.True(t, bytes.Equal(imagetest.Theirs(t, images...), fronttest.Ours(t, images...)))
		})
	}
}

// containers/image cannot write zstd images; ours is the archive of the same
// image with gzip layers.
func TestZstd(t *testing.T) {
	got := fronttest.Ours(t, imagetest.Named{Source: imagetest.Saved(t, "zstd"), Name: "two:2"})
	assert.True(t, bytes.Equal(imagetest.Theirs(t, imagetest.Named{Source: imagetest.Saved(t, "two"), Name: "two:2"}), got))
}
