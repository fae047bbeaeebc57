//go:build unix

package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// A child process writes one of these to its standard output, to say what it does when it is killed.
const adding, removing, compacting = 'a', 'r', 'c'

func init() { children["change"] = changeUntilKilled }

// changeUntilKilled adds an image to the archive at path, removes it and compacts the
// archive, over and over. It prints what it does, when it begins and for every piece of a
// blob that it reads.
func changeUntilKilled(t *testing.T, path string) error {
	m := pieces(imagetest.NewImage(t, "added", imagetest.Gzip(11, 3000)), 200, string(adding))
	policy := imagetest.Trusting(t)
	for i := 0; ; i++ {
		ref, err := dockerarchive.Transport.ParseReference(path + ":added:1")
		if err == nil {
			fmt.Print(string(adding))
			err = imagetest.Copy(t, ref, m, nil)
		}
		if err == nil {
			fmt.Print(string(removing))
			err = remove(t, path, "added:1")
		}
		if err == nil && i%2 == 1 {
			fmt.Print(string(compacting))
			err = copying.Compact(t.Context(), policy, path, nil)
		}
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
		all[name] = imagetest.ReadFile(t, filepath.Join("../../testdata", "archives", name+".tar"))
	}
	return all
}

// A process that is killed while it changes an archive, whoever has written it, leaves
// the old one or the new one, and whoever comes next can change it.
func TestKilledWhileChanging(t *testing.T) {
	const fresh = 5 // kills of an archive before it is another one: compact makes it ours
	kills := imagetest.Rounds(t, 32, 160)
	archives := beginnings(t)
	for name, begin := range archives {
		old := namesIn(t, begin)
		path := filepath.Join(t.TempDir(), "archive.tar")
		without, with, while := 0, 0, map[byte]int{}
		for i := range kills / len(archives) {
			if i%fresh == 0 {
				require.NoError(t, os.WriteFile(path, begin, 0o600))
			}
			what := []byte{adding, adding, removing, compacting}[rand.IntN(4)]
			killChange(t, path, what)
			while[what]++
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
		t.Logf("%s: %d kills while adding, %d removing, %d compacting: %d times the archive without the image, %d times with it",
			name, while[adding], while[removing], while[compacting], without, with)
	}
}

// killChange kills a process at a random moment while it changes the archive at path in
// some way.
func killChange(t *testing.T, path string, what byte) {
	t.Helper()
	moments := 2
	if what == adding {
		moments = 40
	}
	moment := 1 + rand.IntN(moments)
	left, ended := killAt(t, child(t, "change", path), func(b byte) bool {
		if b == what {
			moment--
		}
		return moment == 0
	})
	require.False(t, ended, "the child has ended by itself: %s", left)
}
