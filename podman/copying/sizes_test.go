package copying_test

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// Sizes that only a liar would write into a manifest, alone and added up, are an
// error before anything is fetched, and no offset is ever negative.
func TestHugeSizes(t *testing.T) {
	for _, sizes := range [][]int64{
		{1 << 62}, {1<<62 - 1, 1 << 62}, {math.MaxInt64}, {math.MaxInt64 - 511}, {math.MaxInt64, math.MaxInt64},
		{1 << 59, 1 << 59, 1 << 59, 1 << 59, 1 << 59, 1 << 59, 1 << 59, 1 << 59, 1 << 59, 1 << 59, 1 << 59, 1 << 59, 1 << 59, 1 << 59, 1 << 59, 1 << 59, 1 << 59},
	} {
		var layers []imagetest.Layer
		for i := range sizes {
			layers = append(layers, imagetest.Gzip(uint64(i), 10))
		}
		m := imagetest.NewImage(t, "huge", layers...)
		for i, size := range sizes {
			m.Manifest.Layers[i].Size = size
		}
		m.Encode(t)
		name := fmt.Sprint(sizes)
		images := []copying.SaveImage{named(t, m, "app:1")}
		_, err := copying.PlanSave(t.Context(), imagetest.Trusting(t), images, saving(t))
		require.Error(t, err, name)

		options := saving(t)
		options.KeepGoing = true
		plan, err := copying.PlanSave(t.Context(), imagetest.Trusting(t), images, options)
		require.ErrorIs(t, err, copying.ErrImagesLeftOut, name)
		for _, e := range plan.Entries {
			assert.GreaterOrEqual(t, e.Offset, int64(-1), "%s: %s", name, e.Name)
		}
		assert.GreaterOrEqual(t, plan.Size, int64(-1), name)
		assert.GreaterOrEqual(t, plan.Fetch, int64(-1), name)

		m.Forget()
		path := filepath.Join(t.TempDir(), "saved.tar")
		_, err = copying.Save(t.Context(), imagetest.Trusting(t), path, images, saving(t))
		require.Error(t, err, name)
		assert.Empty(t, m.Gets, name)
		assert.Empty(t, imagetest.Leftovers(t, filepath.Dir(path)), name)
	}
}

// An image that fits an archive, but no disk, is refused before anything is fetched
// too.
func TestLargerThanTheDisk(t *testing.T) {
	m := imagetest.NewImage(t, "x", imagetest.Gzip(1, 100))
	m.Manifest.Layers[0].Size = 1 << 58
	m.Encode(t)
	path := filepath.Join(t.TempDir(), "saved.tar")
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{named(t, m, "")}, saving(t))
	require.ErrorContains(t, err, "the disk is too small for "+path)
	assert.Empty(t, m.Gets)
	assert.Empty(t, imagetest.Leftovers(t, filepath.Dir(path)))
}
