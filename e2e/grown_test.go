package e2e_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/fronttest"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// kinds are the transports, by their names.
var kinds = map[string]types.ImageTransport{"docker": dockerarchive.Transport, "oci": dockerarchive.ImageTransport}

// copyTo copies an image to NAME in the archive at path, which may be there.
func copyTo(t testing.TB, kind types.ImageTransport, path, name string, m *imagetest.Image) error {
	t.Helper()
	ref, err := kind.ParseReference(path + ":" + name)
	require.NoError(t, err)
	return imagetest.Copy(t, ref, m, nil)
}

// namesIn returns the names of all images of an archive, which must be valid.
func namesIn(t testing.TB, archive []byte) [][]string {
	t.Helper()
	r, err := dockerarchive.NewReaderAt(t.Context(), nil, bytes.NewReader(archive), int64(len(archive)))
	require.NoError(t, err)
	defer r.Close()
	report, err := r.Verify(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, report.Problems)
	list, err := r.List()
	require.NoError(t, err)
	var names [][]string
	for _, refs := range list {
		var all []string
		for _, ref := range refs {
			if name := ref.DockerReference(); name != nil {
				all = append(all, name.String())
			}
		}
		names = append(names, all)
	}
	return names
}

// A copy to an existing archive adds to it, and leaves all of its bytes but those
// of one block. A reader of the old one reads on.
func TestCopyToAnArchiveAddsToIt(t *testing.T) {
	shared := imagetest.Gzip(1, 30000)
	one, two := imagetest.NewImage(t, "1", shared), imagetest.NewImage(t, "2", shared, imagetest.Gzip(2, 5000))
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "archive.tar")
			require.NoError(t, copyTo(t, kind, path, "a:1", one))
			before := imagetest.ReadFile(t, path)
			reader, err := dockerarchive.NewReaderContext(t.Context(), nil, path)
			require.NoError(t, err)
			defer reader.Close()

			require.NoError(t, copyTo(t, kind, path, "b:1", two))
			after := imagetest.ReadFile(t, path)
			require.Greater(t, len(after), len(before))
			var differ []int
			for i := 0; i < len(before); i += 512 {
				if !bytes.Equal(before[i:i+512], after[i:i+512]) {
					differ = append(differ, i)
				}
			}
			assert.Len(t, differ, 1, "blocks of the old archive that are others now")
			assert.Equal(t, [][]string{{"docker.io/library/a:1"}, {"docker.io/library/b:1"}}, namesIn(t, after))
			report, err := reader.Verify(t.Context(), nil)
			require.NoError(t, err)
			assert.Empty(t, report.Problems, "of the old archive, for who has it open")
			list, err := reader.List()
			require.NoError(t, err)
			assert.Len(t, list, 1)

			again := imagetest.ReadFile(t, path)
			require.NoError(t, copyTo(t, kind, path, "b:1", two))
			assert.True(t, bytes.Equal(again, imagetest.ReadFile(t, path)), "what is there changes nothing")

			require.NoError(t, copyTo(t, kind, path, "a:1", two))
			assert.Equal(t, [][]string{{"docker.io/library/b:1", "docker.io/library/a:1"}}, namesIn(t, imagetest.ReadFile(t, path)), "a name moves")
		})
	}
}

// An image whose last name moves to another stays without one if that is wanted.
func TestOpenWriterKeepsUntagged(t *testing.T) {
	one, two := imagetest.NewImage(t, "1", imagetest.Gzip(1, 3000)), imagetest.NewImage(t, "2", imagetest.Gzip(2, 5000))
	for name, kind := range kinds {
		for keep, want := range map[bool][][]string{true: {nil, {"docker.io/library/a:1"}}, false: {{"docker.io/library/a:1"}}} {
			path := filepath.Join(t.TempDir(), "archive.tar")
			require.NoError(t, copyTo(t, kind, path, "a:1", one))
			w, err := dockerarchive.OpenWriter(t.Context(), nil, path, &dockerarchive.WriterOptions{KeepUntagged: keep})
			require.NoError(t, err)
			ref, err := w.NewReference(imagetest.Tagged(t, "a:1"))
			require.NoError(t, err)
			require.NoError(t, imagetest.Copy(t, ref, two, nil))
			require.NoError(t, w.Close())
			assert.Equal(t, want, namesIn(t, imagetest.ReadFile(t, path)), "%s, %v", name, keep)
		}
	}
}

// A change that fails, or is given up, leaves the archive as it was to the byte.
func TestAddingFails(t *testing.T) {
	one, two := imagetest.NewImage(t, "1", imagetest.Gzip(1, 30000)), imagetest.NewImage(t, "2", imagetest.Gzip(2, 50000))
	broken := fronttest.Failing(t, 20000)
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "archive.tar")
			require.NoError(t, copyTo(t, kind, path, "a:1", one))
			before := imagetest.ReadFile(t, path)
			require.Error(t, copyTo(t, kind, path, "b:1", broken))
			assert.True(t, bytes.Equal(before, imagetest.ReadFile(t, path)), "after a failure")

			w, err := dockerarchive.OpenWriter(t.Context(), nil, path, nil)
			require.NoError(t, err)
			_, err = dockerarchive.OpenWriter(t.Context(), nil, path, nil)
			require.ErrorIs(t, err, errdef.ErrBusy)
			require.NoError(t, imagetest.Copy(t, fronttest.Reference(t, w, "b:1"), two, nil))
			require.NoError(t, w.Abort())
			assert.True(t, bytes.Equal(before, imagetest.ReadFile(t, path)), "after Abort")

			w, err = dockerarchive.OpenWriter(t.Context(), nil, path, nil)
			require.NoError(t, err)
			require.NoError(t, imagetest.Copy(t, fronttest.Reference(t, w, "b:1"), two, nil))
			spoil, err := os.OpenFile(path, os.O_RDWR, 0)
			require.NoError(t, err)
			_, err = spoil.WriteAt([]byte("x"), int64(len(before))-1500)
			require.NoError(t, err)
			require.NoError(t, spoil.Close())
			require.ErrorContains(t, w.Close(), "another program has changed the file")
			assert.Len(t, imagetest.ReadFile(t, path), len(before))
		})
	}
}

// The next change cuts off the rest that a killed one has left.
func TestRestsAreCutOff(t *testing.T) {
	one, two := imagetest.NewImage(t, "1", imagetest.Gzip(1, 30000)), imagetest.NewImage(t, "2", imagetest.Gzip(2, 50000))
	path := filepath.Join(t.TempDir(), "archive.tar")
	require.NoError(t, copyTo(t, dockerarchive.ImageTransport, path, "a:1", one))
	before := imagetest.ReadFile(t, path)
	require.NoError(t, copyTo(t, dockerarchive.ImageTransport, path, "b:1", two))
	clean := imagetest.ReadFile(t, path)
	require.NoError(t, os.WriteFile(path, append(bytes.Clone(before), bytes.Repeat([]byte("rest"), 1<<18)...), 0o600))
	assert.Len(t, namesIn(t, imagetest.ReadFile(t, path)), 1)
	require.NoError(t, copyTo(t, dockerarchive.ImageTransport, path, "b:1", two))
	assert.True(t, bytes.Equal(clean, imagetest.ReadFile(t, path)))
}

// An archive that cannot be changed is left as it is, and the error says why.
func TestWhatCannotBeAddedTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.tar")
	require.NoError(t, copyTo(t, dockerarchive.ImageTransport, path, "a:1", imagetest.NewImage(t, "1", imagetest.Gzip(1, 3000))))
	whole := imagetest.ReadFile(t, path)
	for want, content := range map[string][]byte{
		"decompress it first":   imagetest.Gzipped(whole),
		"end-of-archive marker": whole[:len(whole)-1024],
		"not a valid tar":       []byte("mine"),
	} {
		path := filepath.Join(t.TempDir(), "archive.tar")
		require.NoError(t, os.WriteFile(path, content, 0o600))
		_, err := dockerarchive.OpenWriter(t.Context(), nil, path, nil)
		require.ErrorContains(t, err, want)
		assert.True(t, bytes.Equal(content, imagetest.ReadFile(t, path)))
	}
	_, err := dockerarchive.OpenWriter(t.Context(), nil, filepath.Join(t.TempDir(), "none"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// If another program disturbs the file while it is added to, that program's bytes
// are not overwritten.
func TestDisturbedWhileAdding(t *testing.T) {
	one, two := imagetest.NewImage(t, "1", imagetest.Gzip(1, 30000)), imagetest.NewImage(t, "2", imagetest.Gzip(2, 50000))
	for name, disturb := range map[string]func(path string) error{
		"replaced": func(path string) error {
			if err := os.WriteFile(path+".new", []byte("theirs"), 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
		"truncated": func(path string) error { return os.Truncate(path, 700) },
		"removed":   os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "archive.tar")
			require.NoError(t, copyTo(t, dockerarchive.ImageTransport, path, "a:1", one))
			w, err := dockerarchive.OpenWriter(t.Context(), nil, path, nil)
			require.NoError(t, err)
			require.NoError(t, imagetest.Copy(t, fronttest.Reference(t, w, "b:1"), two, nil))
			require.NoError(t, disturb(path))
			require.Error(t, w.Close())
			if name == "replaced" {
				assert.Equal(t, "theirs", string(imagetest.ReadFile(t, path)))
			}
		})
	}
}
