//go:build unix

package dockerarchive_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/copying"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// changeUntilKilled adds an image to the archive at path, removes it and compacts the
// archive, over and over. It prints a dot for every piece of a blob that it reads, and
// for every change.
func changeUntilKilled(t testing.TB, path string) error {
	m := imagetest.NewImage(t, "added", imagetest.Gzip(11, 3000))
	m.Disturb = func(_ context.Context, _ digest.Digest, r io.Reader) io.Reader {
		return imagetest.ReaderFunc(func(p []byte) (int, error) {
			fmt.Print(".")
			return r.Read(p[:min(len(p), 200)])
		})
	}
	policy := imagetest.Trusting(t)
	for i := 0; ; i++ {
		ref, err := dockerarchive.Transport.ParseReference(path + ":added:1")
		if err == nil {
			err = imagetest.Copy(t, ref, m, nil)
		}
		fmt.Print(".")
		if err == nil {
			err = copying.Remove(t.Context(), path, []string{"added:1"}, nil)
		}
		fmt.Print(".")
		if err == nil && i%3 == 2 {
			err = copying.Compact(t.Context(), policy, path, nil)
		}
		fmt.Print(".")
		if err != nil {
			return err
		}
	}
}

// A process that is killed while it changes an archive leaves the old one or the new
// one, and whoever comes next can change it.
func TestKilledWhileChanging(t *testing.T) {
	kills := imagetest.Rounds(t, 30, 300)
	one := imagetest.NewImage(t, "1", imagetest.Gzip(1, 3000))
	states := [][][]string{{{"docker.io/library/a:1"}}, {{"docker.io/library/a:1"}, {"docker.io/library/added:1"}}}
	seen := [2]int{}
	for name, kind := range kinds {
		path := filepath.Join(t.TempDir(), "archive.tar")
		require.NoError(t, copyTo(t, kind, path, "a:1", one))
		for i := range kills / 2 {
			cmd := child(t, "change", path)
			dots, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			r := bufio.NewReader(dots)
			for range 1 + rand.IntN(80) {
				_, err := r.ReadByte()
				require.NoError(t, err, "the child has ended by itself")
			}
			require.NoError(t, cmd.Process.Kill())
			_ = cmd.Wait() // It says that it was killed.
			got := namesIn(t, imagetest.ReadFile(t, path))
			state := slices.IndexFunc(states, func(s [][]string) bool { return assert.ObjectsAreEqual(s, got) })
			require.GreaterOrEqual(t, state, 0, "%s, kill %d: %v", name, i, got)
			seen[state]++
		}
		require.NoError(t, copyTo(t, kind, path, "added:1", one))
	}
	t.Logf("%d kills: %d times the archive without the image, %d times with it", kills, seen[0], seen[1])
}
