package copying_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/copying"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// What is there is not fetched; what was removed is given back by compact, which
// makes the bytes of one save.
func TestAddRemoveCompact(t *testing.T) {
	for name, kind := range map[string]types.ImageTransport{"docker": dockerarchive.Transport, "oci": dockerarchive.ImageTransport} {
		t.Run(name, func(t *testing.T) {
			shared := imagetest.Gzip(1, 30000)
			one, two := imagetest.NewImage(t, "1", shared, imagetest.Zstd(2, 400)), imagetest.NewImage(t, "2", shared, imagetest.Gzip(3, 500))
			three := imagetest.NewImage(t, "3", imagetest.Gzip(4, 4000))
			o := saving(t)
			o.Transport = kind
			want, _ := save(t, o, named(t, one, "a:1"), named(t, three, "c:1"))

			path := filepath.Join(t.TempDir(), "archive.tar")
			_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{named(t, one, "a:1")}, o)
			require.NoError(t, err)
			_, err = copying.Add(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{named(t, two, "b:1"), named(t, three, "c:1")}, o)
			require.NoError(t, err)
			assert.Zero(t, two.Gets[shared.Digest], "the archive has it")
			assert.NotZero(t, two.Gets[two.Layers[1].Digest])

			before := imagetest.ReadFile(t, path)
			_, err = copying.Add(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{named(t, two, "b:1")}, o)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(before, imagetest.ReadFile(t, path)), "all of it was there")

			var missing *errdef.NoImageError
			require.ErrorAs(t, copying.Remove(t.Context(), path, []string{"b:1", "none"}, nil), &missing)
			require.ErrorAs(t, copying.Remove(t.Context(), path, []string{"@7"}, nil), &missing)
			require.ErrorContains(t, copying.Remove(t.Context(), path, []string{"a:1", "@1", "@2"}, nil), "delete the file instead")
			assert.True(t, bytes.Equal(before, imagetest.ReadFile(t, path)))

			require.NoError(t, copying.Remove(t.Context(), path, []string{"b:1"}, nil))
			removed := imagetest.ReadFile(t, path)
			assert.Equal(t, [][]string{{"docker.io/library/a:1"}, {"docker.io/library/c:1"}}, imagetest.RepoTags(t, removed))
			assert.Less(t, len(removed)-len(before), 16<<10, "only a table of contents is written")

			require.NoError(t, copying.Compact(t.Context(), imagetest.Trusting(t), path, nil))
			assert.Equal(t, imagetest.Sum(want), imagetest.Sum(imagetest.ReadFile(t, path)))
			assert.Equal(t, []string{"archive.tar"}, imagetest.Leftovers(t, filepath.Dir(path)))
		})
	}
}
