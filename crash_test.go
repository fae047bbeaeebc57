//go:build unix

package dockerarchive_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
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

// foreign are archives that other programs have written.
var foreign = []string{"docker20", "docker29", "podman-multi", "crane", "ctr24", "skopeo"}

// beginnings returns the archives that are changed, by their kinds and programs.
func beginnings(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for name, kind := range kinds {
		path := filepath.Join(t.TempDir(), "archive.tar")
		require.NoError(t, copyTo(t, kind, path, "a:1", imagetest.NewImage(t, "1", imagetest.Gzip(1, 3000))))
		all[name] = imagetest.ReadFile(t, path)
	}
	for _, name := range foreign {
		all[name] = imagetest.ReadFile(t, filepath.Join("testdata", "archives", name+".tar"))
	}
	return all
}

// A process that is killed while it changes an archive, whoever has written it, leaves
// the old one or the new one, and whoever comes next can change it.
func TestKilledWhileChanging(t *testing.T) {
	const fresh = 5 // kills of an archive before it is another one: compact makes it ours
	kills := imagetest.Rounds(t, 32, 304)
	without, with := 0, 0
	archives := beginnings(t)
	for name, begin := range archives {
		old := namesIn(t, begin)
		path := filepath.Join(t.TempDir(), "archive.tar")
		for i := range kills / len(archives) {
			if i%fresh == 0 {
				require.NoError(t, os.WriteFile(path, begin, 0o600))
			}
			killChange(t, path)
			switch got := namesIn(t, imagetest.ReadFile(t, path)); {
			case assert.ObjectsAreEqual(old, got):
				without++
			case assert.ObjectsAreEqual(append(slices.Clone(old), []string{"docker.io/library/added:1"}), got):
				with++
			default:
				require.Fail(t, "neither the old nor the new archive", "%s, kill %d: %v", name, i, got)
			}
		}
		require.NoError(t, copyTo(t, dockerarchive.Transport, path, "added:1", imagetest.NewImage(t, "added", imagetest.Gzip(11, 3000))))
		require.NoError(t, copying.Compact(t.Context(), imagetest.Trusting(t), path, nil))
		assert.Equal(t, []string{"archive.tar"}, imagetest.Leftovers(t, filepath.Dir(path)), name)
	}
	t.Logf("%d kills: %d times the archive without the image, %d times with it", without+with, without, with)
}

// killChange kills a process at a random moment while it changes the archive at path.
func killChange(t *testing.T, path string) {
	t.Helper()
	cmd := child(t, "change", path)
	dots, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	require.NoError(t, cmd.Start())
	r := bufio.NewReader(dots)
	for range 1 + rand.IntN(80) {
		_, err := r.ReadByte()
		require.NoError(t, err, "the child has ended by itself: %s", &complaints)
	}
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // It says that it was killed.
}
