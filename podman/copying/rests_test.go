package copying_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// killed is an archive to which images are added, and the bytes that this writes.
type killed struct {
	options       *copying.SaveOptions
	before, after []byte
}

func newKilled(t *testing.T, kind types.ImageTransport, add ...copying.SaveImage) *killed {
	k := &killed{options: saving(t)}
	k.options.Transport = kind
	k.before, _ = save(t, k.options, named(t, imagetest.NewImage(t, "1", imagetest.Gzip(1, 3000)), "a:1"))
	k.after = k.add(t, k.before, add...)
	require.Greater(t, len(k.after), len(k.before))
	return k
}

// add returns the content of a file after images are added to it.
func (k *killed) add(t *testing.T, file []byte, images ...copying.SaveImage) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.tar")
	require.NoError(t, os.WriteFile(path, file, 0o600))
	_, err := copying.Add(t.Context(), imagetest.Trusting(t), path, images, k.options.Adding())
	require.NoError(t, err)
	return imagetest.ReadFile(t, path)
}

// rests returns the file that a process leaves if it is killed after it has written all
// up to an offset.
func (k *killed) rests(end int) []byte {
	return slices.Concat(k.before, k.after[len(k.before):end])
}

// blobAt returns where in the archive a layer's content is.
func (k *killed) blobAt(t *testing.T, l imagetest.Layer) int {
	content := l.Blob
	if k.options.Transport == dockerarchive.Transport {
		content = l.Diff
	}
	at := bytes.Index(k.after, content)
	require.Greater(t, at, len(k.before))
	return at
}

// A change uses the complete blobs that a killed one has left behind the end. The
// archive is the same as without the kill.
func TestRestsAreReused(t *testing.T) {
	layers := []imagetest.Layer{imagetest.Gzip(2, 30000), imagetest.Gzip(3, 50000), imagetest.Gzip(4, 20000)}
	for name, kind := range map[string]types.ImageTransport{"docker": dockerarchive.Transport, "oci": dockerarchive.ImageTransport} {
		t.Run(name, func(t *testing.T) {
			m := imagetest.NewImage(t, "2", layers...)
			k := newKilled(t, kind, named(t, m, "b:1"))
			again := func(what string, file []byte, fetched ...int) {
				t.Helper()
				m.Forget()
				got := k.add(t, file, named(t, m, "b:1"))
				assert.Equal(t, imagetest.Sum(k.after), imagetest.Sum(got), what)
				for i, l := range layers {
					assert.Equal(t, slices.Contains(fetched, i), m.Gets[l.Digest] > 0, "%s: layer %d is fetched", what, i)
				}
			}
			first, second, third := k.blobAt(t, layers[0]), k.blobAt(t, layers[1]), k.blobAt(t, layers[2])
			again("nothing", k.before, 0, 1, 2)
			again("the first is incomplete", k.rests(first+100), 0, 1, 2)
			again("the second is incomplete", k.rests(second+100), 1, 2)
			again("all but the new tail", k.rests(len(k.after)-1024))
			again("all but the commit", k.rests(len(k.after)))

			hole := k.rests(len(k.after))
			clear(hole[first-512 : first+1000]) // The header is written last.
			again("the first is incomplete, and the others are there", hole, 0)
			hole = k.rests(third)
			clear(hole[second-512 : second+1000])
			again("there is the first alone", hole, 1, 2)

			spoilt := k.rests(len(k.after))
			spoilt[second+7]++
			again("the second is not what its digest says", spoilt, 1)
			other := k.rests(len(k.after))
			other[first-512+148] = '7' // A sum that is wrong: no header at all.
			again("the first has no header", other, 0)
		})
	}
}

// Rests of a change that is not made again are not in the archive.
func TestRestsOfOthers(t *testing.T) {
	layers := []imagetest.Layer{imagetest.Gzip(2, 30000), imagetest.Gzip(3, 50000), imagetest.Gzip(4, 20000)}
	for name, kind := range map[string]types.ImageTransport{"docker": dockerarchive.Transport, "oci": dockerarchive.ImageTransport} {
		t.Run(name, func(t *testing.T) {
			m := imagetest.NewImage(t, "2", layers...)
			k := newKilled(t, kind, named(t, m, "b:1"))
			other := imagetest.NewImage(t, "3", imagetest.Gzip(5, 40000), layers[1], imagetest.Gzip(6, 100))
			want := k.add(t, k.before, named(t, other, "c:1"))
			other.Forget()
			assert.Equal(t, imagetest.Sum(want), imagetest.Sum(k.add(t, k.rests(len(k.after)), named(t, other, "c:1"))))
			assert.Zero(t, other.Gets[layers[1].Digest], "it was left")

			path := filepath.Join(t.TempDir(), "archive.tar")
			require.NoError(t, os.WriteFile(path, k.rests(len(k.after)), 0o600))
			_, err := copying.Add(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{named(t, imagetest.NewImage(t, "1", imagetest.Gzip(1, 3000)), "a:1")}, k.options.Adding())
			require.NoError(t, err)
			assert.True(t, bytes.Equal(k.before, imagetest.ReadFile(t, path)), "nothing is added, and the rests are cut off")
		})
	}
}

// An archive with rests is the archive, and verify says that there are some.
func TestVerifyMentionsRests(t *testing.T) {
	k := newKilled(t, dockerarchive.ImageTransport, named(t, imagetest.NewImage(t, "2", imagetest.Gzip(2, 30000)), "b:1"))
	file := k.rests(len(k.after))
	r, err := dockerarchive.NewReaderAt(t.Context(), nil, bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	defer r.Close()
	list, err := r.List()
	require.NoError(t, err)
	assert.Len(t, list, 1)
	report, err := r.Verify(t.Context(), nil)
	require.NoError(t, err)
	assert.Empty(t, report.Problems)
	assert.Contains(t, report.Notes, fmt.Sprintf("%d bytes follow the end of the archive, which nobody reads: add reuses what it needs of them, and cuts the rest off", len(file)-len(k.before)))
}
