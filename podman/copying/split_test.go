package copying_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

const partSize = 1 << 20

// joined returns the parts of an archive, joined as by cat.
func joined(t *testing.T, path string) []byte {
	t.Helper()
	names, err := filepath.Glob(path + ".[0-9]*")
	require.NoError(t, err)
	var all []byte
	for _, name := range names {
		data := imagetest.ReadFile(t, name)
		assert.LessOrEqual(t, len(data), partSize)
		all = append(all, data...)
	}
	return all
}

// The parts, joined, begin with the bytes of the archive in one file, and any tool can
// read them. In place they are read as one archive. There is no superfluous part.
func TestSplit(t *testing.T) {
	for name, kind := range map[string]types.ImageTransport{"docker": dockerarchive.Transport, "oci": dockerarchive.ImageTransport} {
		t.Run(name, func(t *testing.T) {
			one := imagetest.NewImage(t, "1", imagetest.Gzip(1, 1_500_000), imagetest.Gzip(2, 700_000))
			two := imagetest.NewImage(t, "2", one.Layers[0], imagetest.Gzip(3, 800_000), imagetest.Zstd(4, 300_000))
			images := []copying.SaveImage{named(t, one, "a:1"), named(t, two, "b:1")}
			o := saving(t)
			o.Transport = kind
			whole, _ := save(t, o, images...)
			o.Split = partSize
			dir := t.TempDir()
			path := filepath.Join(dir, "x.tar")
			_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, images, o)
			require.NoError(t, err)
			assert.NoFileExists(t, path)
			all := joined(t, path)
			require.True(t, bytes.HasPrefix(all, whole))
			assert.Less(t, len(all)-len(whole), 16<<10)
			assert.Equal(t, imagetest.RepoTags(t, whole), imagetest.RepoTags(t, all))

			for _, part := range []string{dir, path + ".000", path + ".001"} {
				a, err := archive.Open(t.Context(), part)
				require.NoError(t, err)
				assert.Len(t, a.Images(), 2)
				assert.Equal(t, int64(len(whole)), a.Size())
				report, err := a.Verify(t.Context(), nil)
				require.NoError(t, err)
				assert.Empty(t, report.Problems)
				assert.Empty(t, report.Notes)
				require.NoError(t, a.Close())
			}
			ref, err := kind.ParseReference(path + ".000:a:1")
			require.NoError(t, err)
			o.Split = 0
			again, _ := save(t, o, copying.SaveImage{Source: ref, Name: imagetest.Tagged(t, "a:1")})
			alone, _ := save(t, o, images[0])
			assert.Equal(t, imagetest.Sum(alone), imagetest.Sum(again))

			// Joined, it grows as any other; in parts, it does not.
			_, err = copying.Add(t.Context(), imagetest.Trusting(t), path+".000", images, o.Adding())
			require.ErrorContains(t, err, "join them")
			_, err = copying.Remove(t.Context(), dir, []string{"a:1"}, nil)
			require.ErrorContains(t, err, "join them")
			require.ErrorContains(t, copying.Compact(t.Context(), imagetest.Trusting(t), path+".000", nil), "join them")
			require.NoError(t, os.WriteFile(path, all, 0o600))
			_, err = copying.Add(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{named(t, two, "c:1")}, o.Adding())
			require.NoError(t, err)
			_, err = copying.Remove(t.Context(), path, []string{"c:1"}, nil)
			require.NoError(t, err)
			require.NoError(t, copying.Compact(t.Context(), imagetest.Trusting(t), path, nil))
			assert.Equal(t, imagetest.Sum(whole), imagetest.Sum(imagetest.ReadFile(t, path)))
		})
	}
}

// A Writer of the library writes parts too. An archive that cannot be in parts is an
// error, and leaves nothing. Verify names the part that is damaged.
func TestSplitWriter(t *testing.T) {
	one := imagetest.NewImage(t, "1", imagetest.Gzip(1, 1_500_000), imagetest.Gzip(2, 700_000))
	dir := t.TempDir()
	path := filepath.Join(dir, "x.tar")
	sys := imagetest.Isolated()
	o := saving(t)
	images := []copying.SaveImage{named(t, one, "a:1")}
	o.Split = partSize
	for _, compressed := range []string{"x.tar.gz", "x.tar.zst"} {
		_, err := copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(dir, compressed), images, o)
		require.ErrorContains(t, err, "cannot be split")
	}
	_, err := copying.SaveTo(t.Context(), imagetest.Trusting(t), io.Discard, images, o)
	require.ErrorContains(t, err, "stream")
	o.ArchiveDigest = new(digest.Digest)
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), path, images, o)
	require.ErrorContains(t, err, "no digest of an archive in parts")
	_, err = dockerarchive.NewWriterTo(t.Context(), sys, io.Discard, &dockerarchive.WriterOptions{Split: partSize})
	require.ErrorContains(t, err, "stream")
	assert.Empty(t, imagetest.Leftovers(t, dir))

	w, err := dockerarchive.NewWriterContext(t.Context(), sys, path, &dockerarchive.WriterOptions{Split: partSize})
	require.NoError(t, err)
	ref, err := w.NewReference(imagetest.Tagged(t, "a:1"))
	require.NoError(t, err)
	require.NoError(t, imagetest.Copy(t, ref, one, imagetest.Sequentially()))
	require.NoError(t, w.Close())
	require.NotEmpty(t, joined(t, path))

	f, err := os.OpenFile(path+".001", os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	r, err := dockerarchive.NewReaderContext(t.Context(), sys, path+".000")
	require.NoError(t, err)
	defer r.Close()
	_, err = f.WriteAt([]byte("damage"), 77_777)
	require.NoError(t, err)
	report, err := r.Verify(t.Context(), nil)
	require.NoError(t, err)
	require.NotEmpty(t, report.Problems)
	var mismatch *errdef.MismatchError
	require.ErrorAs(t, report.Problems[0], &mismatch)
	assert.Equal(t, path+".001", mismatch.Name)
}
