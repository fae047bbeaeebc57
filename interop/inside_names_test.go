//go:build interop

package interop

import (
	"archive/tar"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Names that lead out of the image land in it, as clients have it, but for docker 29 with overlay2,
// which refuses them: crane makes an image of tars as they are, with such names, and the clients
// show the same files of it as make makes of them.
func TestNamesThatLeadOut(t *testing.T) {
	dir := daemonDir(t)
	var files []string
	for name, entries := range map[string]layer{
		"lower": {folder("d"), file("d/a", "1"), file("gone", "2")},
		"upper": {
			file("../x", "3"), file("d/../../y", "4"), folder("../../e").mode(0o750), hard("e/z", "../x"), whiteout("../gone"),
			symlink("../l", "../d"), file("../d/b", "5"), file("/../f/g", "6"),
		},
	} {
		path := filepath.Join(dir, name+".tar")
		f, err := os.Create(path)
		require.NoError(t, err)
		w := tar.NewWriter(f)
		for _, e := range entries {
			writeEntry(t, w, e, "")
		}
		require.NoError(t, w.Close())
		require.NoError(t, f.Close())
	}
	files = []string{filepath.Join(dir, "lower.tar"), filepath.Join(dir, "upper.tar")}

	const name = "example.com/out:1"
	ours, theirs, root := filepath.Join(dir, "ours.tar"), filepath.Join(dir, "theirs.tar"), filepath.Join(dir, "extracted")
	dockerArchive(t).run(t, "make", "--layer", files[0], "--layer", files[1], "-t", name, "-o", ours)
	dockerArchive(t).run(t, "extract", ours, root)
	want := matrixTree(t, root)
	assert.Equal(t, "d/ d/a=1 d/b=5 e/ e/z=3 f/ f/g=6 l->../d x=3 y=4", treeWords(t, root))
	built(t, "crane").run(t, "append", "--new_layer", files[0], "--new_layer", files[1], "--new_tag", name, "--output", theirs)
	for _, viewer := range treeViewers {
		if viewer.name == "crane export" { // It writes a tar with the same names.
			continue
		}
		t.Run(viewer.name, func(t *testing.T) {
			show := viewer.start(t)
			for _, path := range []string{theirs, ours} {
				root, err := show(t, path, name)
				if viewer.name == "docker 29 overlay2" && path == theirs {
					require.ErrorContains(t, err, `invalid entry name "../x"`)
					continue
				}
				require.NoError(t, err, path)
				requireSameTree(t, want, matrixTree(t, root))
			}
		})
	}
}
