package tarfile

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// restsOf returns the names and sizes of the parts that Rests finds. take says whether
// one is an entry.
func restsOf(t *testing.T, data []byte, take func(Rest) bool) (all []Rest) {
	t.Helper()
	require.NoError(t, Rests(t.Context(), bytes.NewReader(data), 0, int64(len(data)), func(r Rest) (bool, error) {
		all = append(all, r)
		return take(r), nil
	}))
	return all
}

func TestRests(t *testing.T) {
	inner := reference(t, file{"inner", []byte("x")})
	data := append(make([]byte, 3*blockSize), reference(t, file{"a", content("a", 700)}, file{"b", inner}, file{"c", []byte("c")})...)
	a, b := Rest{"a", 3 * blockSize, 700}, Rest{"b", 6 * blockSize, int64(len(inner))}
	c := Rest{"c", b.Offset + b.Span(), 1}
	yes, no := func(Rest) bool { return true }, func(Rest) bool { return false }
	assert.Equal(t, []Rest{a, b, c}, restsOf(t, data, yes))
	assert.Equal(t, []Rest{a, b, {"inner", 7 * blockSize, 1}, c}, restsOf(t, data, no), "what is not taken may hold some")
	assert.Equal(t, []Rest{a, {"inner", 7 * blockSize, 1}}, restsOf(t, data[:c.Offset-1], yes), "the second is cut short, but not what it holds")
	assert.Empty(t, restsOf(t, data[:100], yes))
	assert.Equal(t, []byte("c"), data[c.Offset+blockSize:][:1])

	claims, err := encodeHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "huge", Format: tar.FormatGNU}, maxSize)
	require.NoError(t, err)
	assert.Empty(t, restsOf(t, append(claims, data...)[:2*blockSize], yes), "it claims more than there is")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, Rests(ctx, bytes.NewReader(data), 0, int64(len(data)), nil), context.Canceled)
	failure := errors.New("failure")
	require.ErrorIs(t, Rests(t.Context(), bytes.NewReader(data), 0, int64(len(data)), func(Rest) (bool, error) { return false, failure }), failure)
	require.NoError(t, Rests(t.Context(), bytes.NewReader(nil), 0, int64(len(data)), nil), "the file has been cut")
}

// damagedDisk cannot be read from one offset to another.
type damagedDisk struct {
	io.ReaderAt
	from, to int64
}

func (d damagedDisk) ReadAt(p []byte, off int64) (int, error) {
	if off >= d.to || off+int64(len(p)) <= d.from {
		return d.ReaderAt.ReadAt(p, off)
	}
	n, _ := d.ReaderAt.ReadAt(p[:max(d.from-off, 0)], off)
	return n, errors.New("input/output error")
}

// An unreadable block hides only the entries near it.
func TestRestsOfADamagedDisk(t *testing.T) {
	data := reference(t, file{"a", content("a", 700)}, file{"b", content("b", maxWindow)}, file{"c", content("c", 600)})
	disk := damagedDisk{bytes.NewReader(data), 3 * blockSize, 4 * blockSize}
	var names []string
	require.NoError(t, Rests(t.Context(), disk, 0, int64(len(data)), func(r Rest) (bool, error) {
		names = append(names, r.Name)
		return true, nil
	}))
	assert.Equal(t, []string{"a", "c"}, names)
	for _, size := range []int64{700, 3*blockSize - 100} { // The header, the bytes after the content.
		ok, err := Rest{"a", max(4*blockSize-spanOf(blockSize, size), 0), size}.FrameIs(disk, header("a"))
		require.NoError(t, err)
		assert.False(t, ok)
	}
}

// An entry matches what a Writer would have written, around its content too.
func TestFrameIs(t *testing.T) {
	data := reference(t, file{"a", content("a", 700)})
	for at, want := range map[int]bool{-1: true, 0: false, 148: false, 600: true, blockSize + 700: false, 3*blockSize - 1: false, 3 * blockSize: true} {
		changed := bytes.Clone(data)
		if at >= 0 {
			changed[at] ^= 1
		}
		ok, err := Rest{"a", 0, 700}.FrameIs(bytes.NewReader(changed), header("a"))
		require.NoError(t, err)
		assert.Equal(t, want, ok, at)
	}
}

// An adopted entry stays if it is in its place, and missing entries go between.
func TestAdopt(t *testing.T) {
	want := reference(t, file{"a", content("a", 700)}, file{"b", content("b", 5000)}, file{"c", content("c", 600)}, file{"x", []byte("x")})
	f := tempFile(t)
	_, err := f.WriteAt(want, 0)
	require.NoError(t, err)
	spanA, spanB := spanOf(blockSize, 700), spanOf(blockSize, 5000)
	_, err = f.WriteAt(make([]byte, spanA), 0)
	require.NoError(t, err)
	w := NewFileWriter(f, 0, t.TempDir())
	b, err := w.Adopt("b", spanA, 5000)
	require.NoError(t, err)
	for _, wrong := range [][2]int64{{spanA, 5000}, {1 << 20, -1}, {1<<20 + 1, 0}} {
		_, err := w.Adopt("b", wrong[0], wrong[1])
		require.ErrorContains(t, err, "cannot be adopted")
	}
	put := func(name string, n int, size int64) *Entry {
		t.Helper()
		blob, err := w.Create(w.Reserve(name, size), nil, size)
		require.NoError(t, err)
		require.NoError(t, blob.Write(t.Context(), content(name, n)))
		e, err := blob.Finish(t.Context(), header(name))
		require.NoError(t, err)
		return e
	}
	c := put("c", 600, -1)
	a := put("a", 700, 700)
	assert.Equal(t, []int64{0, spanA, spanA + spanB}, []int64{a.place.off, b.place.off, c.place.off}, "nothing has to be moved")
	_, err = w.Adopt("b", 1<<20, 0)
	require.NoError(t, err, "it comes to nothing")
	require.NoError(t, w.Seal(t.Context(), nil, []*Entry{a, b, c}, List(small("x", "x"))))
	require.NoError(t, w.Close(t.Context()))
	assert.Equal(t, want, readAll(t, f))
}

// A blob with a size that is expected before its content comes goes to a gap; if it
// turns out to be larger, elsewhere.
func TestAdoptAndExpect(t *testing.T) {
	want := reference(t, file{"a", content("a", 7000)}, file{"b", content("b", 5000)}, file{"x", []byte("x")})
	span := spanOf(blockSize, 7000)
	for _, expected := range []int64{7000, 6900, 100} {
		f := tempFile(t)
		_, err := f.WriteAt(want, 0)
		require.NoError(t, err)
		_, err = f.WriteAt(make([]byte, span), 0)
		require.NoError(t, err)
		w := NewFileWriter(f, 0, t.TempDir())
		b, err := w.Adopt("b", span, 5000)
		require.NoError(t, err)
		blob, err := w.Create(w.Reserve("a", -1), nil, -1)
		require.NoError(t, err)
		blob.Expect(expected)
		require.NoError(t, blob.Write(t.Context(), content("a", 7000)[:100]))
		assert.Zero(t, blob.slot.off)
		require.NoError(t, blob.Write(t.Context(), content("a", 7000)[100:]))
		a, err := blob.Finish(t.Context(), header("a"))
		require.NoError(t, err)
		assert.Equal(t, expected < 7000, a.place == nil)
		require.NoError(t, w.Seal(t.Context(), nil, []*Entry{a, b}, List(small("x", "x"))))
		require.NoError(t, w.Close(t.Context()))
		assert.Equal(t, want, readAll(t, f))
	}
}
