package files

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rewound is an output in memory that can take back what was written.
type rewound struct {
	bytes.Buffer
	times int
}

// Mark implements Rewinder.
func (r *rewound) Mark() (func() error, error) {
	n := r.Len()
	return func() error {
		r.times++
		r.Truncate(n)
		return nil
	}, nil
}

// exports exports layers in one pass and in two, and returns the bytes and how often something
// was taken back.
func exports(t *testing.T, layers ...[]*tar.Header) (data []byte, times int) {
	t.Helper()
	var one rewound
	var two bytes.Buffer
	for _, w := range []io.Writer{&one, &two} {
		tree := treeOf(t, Options{}, layers...)
		require.NoError(t, tree.Export(t.Context(), w, ""))
		require.NoError(t, tree.Close())
	}
	require.Equal(t, two.Bytes(), one.Bytes(), "%v", layers)
	return two.Bytes(), one.times
}

// Export writes the same to an output that can be rewound as to one that cannot, and rewinds only
// if a layer replaces its own files, or a file is there by a hard link alone.
func TestExportReading(t *testing.T) {
	lower := []*tar.Header{directory("./"), directory("d"), file("d/a", "1"), hardlink("d/b", "d/a"), file("d/c", "3"), file("z", "26")}
	for name, test := range map[string]struct {
		upper []*tar.Header
		times int
		want  string // files with content, in their order
	}{
		"nothing":                    {nil, 0, "d/a d/c z"},
		"more":                       {[]*tar.Header{file("e", "5")}, 0, "e d/a d/c z"},
		"changed":                    {[]*tar.Header{file("d/c", "x")}, 0, "d/c d/a z"},
		"whiteout":                   {[]*tar.Header{whiteoutOf("d/.wh.c"), whiteoutOf(".wh.z")}, 0, "d/a"},
		"opaque, at the end":         {[]*tar.Header{file("d/n", "14"), whiteoutOf("d/.wh..wh..opq")}, 0, "d/n z"},
		"opaque root":                {[]*tar.Header{whiteoutOf(".wh..wh..opq"), file("n", "14")}, 0, "n"},
		"file for a directory":       {[]*tar.Header{file("d", "4")}, 0, "d z"},
		"directory for a file":       {[]*tar.Header{directory("z"), file("z/y", "25")}, 0, "z/y d/a d/c"},
		"own whiteout behind":        {[]*tar.Header{file("d/c", "x"), whiteoutOf("d/.wh.c")}, 0, "d/c d/a z"},
		"directory twice":            {[]*tar.Header{directory("n"), file("n/m", "x"), directory("n")}, 0, "n/m d/a d/c z"},
		"through its own link":       {[]*tar.Header{directory("n"), symlink("l", "n"), file("l/m", "x")}, 0, "n/m d/a d/c z"},
		"through the link of others": {[]*tar.Header{file("d/b/m", "x")}, 0, "d/b/m d/a d/c z"},
		"file twice":                 {[]*tar.Header{file("n", "1"), file("n", "2")}, 1, "n d/a d/c z"},
		"link for a directory":       {[]*tar.Header{file("n/m", "1"), symlink("n", "d")}, 1, "d/a d/c z"},
		"entry gone, link there":     {[]*tar.Header{whiteoutOf("d/.wh.a")}, 1, "d/b d/c z"},
		"link into a lower layer":    {[]*tar.Header{hardlink("y", "z"), whiteoutOf(".wh.z")}, 1, "d/a d/c y"},
		"link before its target":     {[]*tar.Header{hardlink("y", "z"), file("z", "x")}, 1, "z d/a d/c y"},
	} {
		t.Run(name, func(t *testing.T) {
			data, times := exports(t, lower, test.upper)
			assert.Equal(t, test.times, times)
			var got []byte
			for r := tar.NewReader(bytes.NewReader(data)); ; {
				h, err := r.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
				if h.Typeflag == tar.TypeReg {
					got = append(append(got, ' '), h.Name...)
				}
			}
			assert.Equal(t, " "+test.want, string(got))
		})
	}
}

func TestExportReadingOfRandomLayers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	times, sound := 0, 0
	name := func() string {
		path := string(rune('a' + r.IntN(3)))
		for r.IntN(3) > 0 {
			path += "/" + string(rune('a'+r.IntN(3)))
		}
		return path
	}
	for range 1000 {
		var layers [][]*tar.Header
		for range 1 + r.IntN(3) {
			var entries []*tar.Header
			for i := range r.IntN(6) {
				path := name()
				entries = append(entries, [...]*tar.Header{
					file(path, fmt.Sprint(i)), file(path+"x", fmt.Sprint(i, i)), directory(path), symlink(path, name()),
					hardlink(path, name()), whiteoutOf(path + "/.wh." + string(rune('a'+r.IntN(3)))), whiteoutOf(path + "/.wh..wh..opq"),
				}[r.IntN(7)])
			}
			layers = append(layers, entries)
		}
		tree := treeOf(t, Options{}, layers...)
		_, err := describe(t, tree)
		require.NoError(t, tree.Close())
		if err != nil {
			continue // A link leads nowhere.
		}
		_, n := exports(t, layers...)
		times += n
		sound++
	}
	assert.Greater(t, times, 20)
	assert.Greater(t, sound, 200)
}
