package files

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/layertar"
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

// exports exports layers in one pass and in two, and returns the bytes and how often output was
// taken back.
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

// Export writes the same bytes to a Rewinder as to any other output, and rewinds only if a layer
// replaces its own files, or if the image has a file by a hard link alone.
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

// An exported tree is the same every time, and the same tree when it is read again.
func TestExport(t *testing.T) {
	lower := tarOf(t, directory("./"), file("d/a", "1"), hardlink("d/b", "d/a"), symlink("s", "d"), &tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3})
	upper := tarOf(t, whiteoutOf("d/.wh.a"), file("e", "22"), file("zero", ""), hardlink("zero2", "zero"))
	var first []byte
	for _, store := range []func(testing.TB, []byte) []byte{gzipped, zstandard} {
		tree := New([]Source{sourceOf("0", lower, lower), sourceOf("1", upper, store(t, upper))}, Options{})
		var b bytes.Buffer
		require.NoError(t, tree.Export(t.Context(), &b, ""))
		require.NoError(t, tree.Close())
		if first == nil {
			first = b.Bytes()
		}
		assert.Equal(t, first, b.Bytes())
	}
	again := New([]Source{sourceOf("x", first, first)}, Options{})
	defer again.Close()
	got, err := describe(t, again)
	require.NoError(t, err)
	assert.Equal(t, "/ 0\nd/ 0\nd/b 0 1\ne 0 22\nnull 0 3 \ns 0 2 d\nzero 0 \nzero2 0 \n", got)
}

func TestSquash(t *testing.T) {
	tree := treeOf(t, Options{}, []*tar.Header{{Typeflag: tar.TypeReg, Name: "d/a", Mode: 0o4755}, hardlink("d/b", "d/a")})
	var b bytes.Buffer
	require.NoError(t, tree.Squash(t.Context(), &b, layertar.Rewriting{StripSetID: true, SetTime: time.Unix(5, 7), Owner: func(int, int) (int, int, error) { return 7, 8, nil }}))
	r := tar.NewReader(&b)
	for _, name := range []string{"d/", "d/a", "d/b"} {
		h, err := r.Next()
		require.NoError(t, err)
		assert.Equal(t, name, h.Name)
		assert.Equal(t, []int{7, 8}, []int{h.Uid, h.Gid})
		assert.Equal(t, time.Unix(5, 0), h.ModTime)
		assert.Zero(t, h.Mode&0o4000)
	}
}

// Any two layers add up to a layer that can be read, if it can be written.
func FuzzExport(f *testing.F) {
	f.Add(tarOf(f, directory("a"), file("a/b", "1"), symlink("c", "a")), tarOf(f, whiteoutOf("c/.wh.b"), hardlink("d", "a/b")))
	f.Add(tarOf(f, file("a", "1")), tarOf(f, whiteoutOf(".wh..wh..opq"), file("a/b", "2")))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		both := New([]Source{sourceOf("0", lower, lower), sourceOf("1", upper, upper)}, Options{MaxEntries: 1000, MaxBytes: 1 << 20})
		defer both.Close()
		root, err := both.Root(t.Context())
		if err != nil {
			return
		}
		var size int64
		for e, err := range both.Walk(t.Context(), root) {
			if err != nil {
				return
			}
			clean, err := layertar.Clean(e.Path)
			require.NoError(t, err)
			assert.Equal(t, e.Path, clean)
			size += e.Size()
		}
		var out bytes.Buffer
		if size > 1<<20 || both.Export(t.Context(), &out, "") != nil {
			return // Holes, which would have to be written.
		}
		var once rewound
		unread := New([]Source{sourceOf("0", lower, lower), sourceOf("1", upper, upper)}, Options{})
		defer unread.Close()
		require.NoError(t, unread.Export(t.Context(), &once, ""))
		assert.Equal(t, out.Bytes(), once.Bytes())
		again := New([]Source{sourceOf("again", out.Bytes(), out.Bytes())}, Options{})
		defer again.Close()
		require.NoError(t, again.Load(t.Context()))
	})
}
