//go:build unix

package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/progress"
)

// resumedTag is an image that is saved, of two that share layers: a tag that moves.
func resumedTag(t testing.TB, moved bool) *imagetest.Image {
	if moved {
		return imagetest.NewImage(t, "moved", imagetest.Gzip(4, 9000), imagetest.Plain(2, 60000), imagetest.Gzip(1, 60000))
	}
	return imagetest.NewImage(t, "first", imagetest.Gzip(1, 60000), imagetest.Plain(2, 60000), imagetest.Gzip(3, 100))
}

// saveTag saves an image to an archive of some kind.
func saveTag(t testing.TB, kind types.ImageTransport, path string, m *imagetest.Image, options copying.SaveOptions) error {
	options.Transport, options.DestinationCtx = kind, imagetest.Isolated()
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{{Source: m, Name: imagetest.Tagged(t, "tag:1")}}, &options)
	return err
}

func init() { children["resume"] = resumeUntilKilled }

// resumeUntilKilled saves an image and goes on with what there is of it, and prints a dot
// for every piece of a blob that it reads, and for everything else that happens.
func resumeUntilKilled(t *testing.T, argument string) error {
	name, path, _ := strings.Cut(argument, ":")
	path, moved := strings.CutSuffix(path, ":moved")
	m := pieces(resumedTag(t, moved), 100, ".")
	return saveTag(t, kinds[name], path, m, copying.SaveOptions{Reading: copying.Reading{Progress: func(progress.Event) { fmt.Print(".") }}, Resume: true})
}

// A process that is killed while it saves leaves nothing, or the whole archive, and what it
// leaves to go on with is believed by nobody: whatever that is, and wherever the tag has
// moved meanwhile, the next one completes the archive with the same bytes.
func TestKilledWhileResuming(t *testing.T) {
	kills := imagetest.Rounds(t, 16, 80)
	for name, kind := range kinds {
		want := map[bool]string{}
		for _, moved := range []bool{false, true} {
			path := filepath.Join(t.TempDir(), "archive.tar")
			require.NoError(t, saveTag(t, kind, path, resumedTag(t, moved), copying.SaveOptions{}))
			want[moved] = imagetest.Sum(imagetest.ReadFile(t, path))
		}
		path := filepath.Join(t.TempDir(), "archive.tar")
		whole, spoilt, moved := 0, 0, false
		for killed := 0; killed < kills/len(kinds); {
			if rand.IntN(4) == 0 {
				moved = !moved
			}
			if rand.IntN(4) == 0 && spoil(t, path+".partial") {
				spoilt++
			}
			argument := name + ":" + path
			if moved {
				argument += ":moved"
			}
			left := 1 + rand.IntN(1200)
			complaints, ended := killAt(t, child(t, "resume", argument), func(byte) bool {
				left--
				return left == 0
			})
			if !ended {
				killed++
			}
			if _, err := os.Stat(path); err != nil {
				require.ErrorIs(t, err, os.ErrNotExist)
				require.False(t, ended, "the child has ended by itself: %s", complaints)
				continue
			}
			require.Equal(t, want[moved], imagetest.Sum(imagetest.ReadFile(t, path)), "neither nothing nor the archive")
			require.NoError(t, os.Remove(path))
			whole++
		}
		require.NoError(t, saveTag(t, kind, path, resumedTag(t, false), copying.SaveOptions{Resume: true}))
		assert.Equal(t, want[false], imagetest.Sum(imagetest.ReadFile(t, path)))
		assert.Equal(t, []string{"archive.tar"}, imagetest.Leftovers(t, filepath.Dir(path)))
		t.Logf("%s: %d kills while resuming: %d times the whole archive; what was left was spoilt %d times", name, kills/len(kinds), whole, spoilt)
	}
}

// spoil changes something in a file, if there is one.
func spoil(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		require.ErrorIs(t, err, os.ErrNotExist)
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	// Where blobs are, not in the gap behind them.
	at := rand.Int64N(min(info.Size(), 150_000) + 1)
	if rand.IntN(3) == 0 {
		require.NoError(t, f.Truncate(at))
	} else {
		_, err = f.WriteAt([]byte("spoilt"), at)
		require.NoError(t, err)
	}
	return true
}
