package copying_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/progress"
)

// Add does not fetch blobs that the archive has. Compact gives back the space of
// removed images, and makes the bytes of one save.
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
			_, err = copying.Add(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{named(t, two, "b:1"), named(t, three, "c:1")}, o.Adding())
			require.NoError(t, err)
			assert.Zero(t, two.Gets[shared.Digest], "the archive has it")
			assert.NotZero(t, two.Gets[two.Layers[1].Digest])

			before := imagetest.ReadFile(t, path)
			clear(two.Gets)
			var events []progress.Event
			again := *o
			again.Progress = func(e progress.Event) { events = append(events, e) }
			_, err = copying.Add(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{named(t, two, "b:1")}, again.Adding())
			require.NoError(t, err)
			assert.True(t, bytes.Equal(before, imagetest.ReadFile(t, path)), "all of it was there")
			assert.Empty(t, two.Gets)
			assert.Equal(t, []progress.Event{{Kind: progress.Planned, Present: 3}}, events)

			var missing *errdef.NoImageError
			_, err = copying.Remove(t.Context(), path, []string{"b:1", "none"}, nil)
			require.ErrorAs(t, err, &missing)
			_, err = copying.Remove(t.Context(), path, []string{"@7"}, nil)
			require.ErrorAs(t, err, &missing)
			_, err = copying.Remove(t.Context(), path, []string{"a:1", "@1", "@2"}, nil)
			require.ErrorContains(t, err, "delete the file instead")
			assert.True(t, bytes.Equal(before, imagetest.ReadFile(t, path)))

			_, err = copying.Remove(t.Context(), path, []string{"b:1"}, nil)
			require.NoError(t, err)
			removed := imagetest.ReadFile(t, path)
			assert.Equal(t, [][]string{{"docker.io/library/a:1"}, {"docker.io/library/c:1"}}, imagetest.RepoTags(t, removed))
			assert.Less(t, len(removed)-len(before), 16<<10, "only a table of contents is written")

			require.NoError(t, copying.Compact(t.Context(), imagetest.Trusting(t), path, nil))
			assert.Equal(t, imagetest.Sum(want), imagetest.Sum(imagetest.ReadFile(t, path)))
			assert.Equal(t, []string{"archive.tar"}, imagetest.Leftovers(t, filepath.Dir(path)))
		})
	}
}

// An archive with documents before its end, as tar programs write directories, is
// written again, and then grows in place.
func TestAddToAnArchiveOfAnotherOrder(t *testing.T) {
	one, two := imagetest.NewImage(t, "1", imagetest.Gzip(1, 3000)), imagetest.NewImage(t, "2", imagetest.Gzip(2, 3000))
	saved, _ := save(t, saving(t), named(t, one, "a:1"))
	files, names := imagetest.Files(t, saved)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, first := range []bool{true, false} {
		for _, name := range names {
			data, ok := files[name]
			if document := filepath.Ext(name) == ".json"; !ok || strings.HasSuffix(name, "/") || document != first {
				continue
			}
			require.NoError(t, w.WriteHeader(&tar.Header{Name: "./" + name, Size: int64(len(data)), Mode: 0o644}))
			_, err := w.Write(data)
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	path := filepath.Join(t.TempDir(), "archive.tar")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o640))
	add := func(m *imagetest.Image, name string) {
		_, err := copying.Add(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{named(t, m, name)}, saving(t).Adding())
		require.NoError(t, err)
	}
	add(one, "a:1")
	assert.True(t, bytes.Equal(b.Bytes(), imagetest.ReadFile(t, path)), "it is there")
	add(two, "b:1")
	grown := imagetest.ReadFile(t, path)
	assert.Equal(t, [][]string{{"docker.io/library/a:1"}, {"docker.io/library/b:1"}}, imagetest.RepoTags(t, grown))
	var differ []int
	for i := 0; i < b.Len()-1024; i += 512 {
		if !bytes.Equal(b.Bytes()[i:i+512], grown[i:i+512]) {
			differ = append(differ, i)
		}
	}
	assert.LessOrEqual(t, len(differ), 2, "blocks of what was there, so that file systems can share the others: %v", differ)
	add(two, "c:1")
	assert.Equal(t, []string{"archive.tar"}, imagetest.Leftovers(t, filepath.Dir(path)))
	assert.Len(t, imagetest.RepoTags(t, imagetest.ReadFile(t, path)), 2)
	r, err := dockerarchive.NewReaderContext(t.Context(), nil, path)
	require.NoError(t, err)
	defer r.Close()
	report, err := r.Verify(t.Context(), nil)
	require.NoError(t, err)
	assert.Empty(t, report.Problems)
}

// A config that is in the archive, but spoilt, is fetched.
func TestAddWithSpoiltConfig(t *testing.T) {
	for name, kind := range map[string]types.ImageTransport{"docker": dockerarchive.Transport, "oci": dockerarchive.ImageTransport} {
		m := imagetest.NewImage(t, "1", imagetest.Gzip(1, 3000))
		o := saving(t)
		o.Transport = kind
		saved, _ := save(t, o, named(t, m, "a:1"))
		saved[bytes.Index(saved, []byte(`"rootfs"`))+1] ^= 1
		clear(m.Gets)
		_, err := copying.Add(t.Context(), imagetest.Trusting(t), imagetest.WriteFile(t, saved), []copying.SaveImage{named(t, m, "b:1")}, o.Adding())
		require.NoError(t, err, name)
		assert.Equal(t, 1, m.Gets[m.ConfigDigest()], name)
		assert.Zero(t, m.Gets[m.Layers[0].Digest], name)
	}
}
