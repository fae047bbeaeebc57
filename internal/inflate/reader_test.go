package inflate

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

var errTest = errors.New("the reader's own error")

func TestReaderErrorPassesThrough(t *testing.T) {
	text := words(300_000)
	data := compressed(6, text)
	for _, n := range []int{0, 5, 10, 11, 100, len(data) / 2, len(data) - 8, len(data) - 1, len(data)} {
		v := written(&cutReader{data[:n], errTest, rand.New(rand.NewPCG(uint64(n), 0))})
		require.Equal(t, errTest, v.err, n)
		require.True(t, bytes.HasPrefix(text, v.data))
		if n >= len(data)-8 {
			require.Len(t, v.data, len(text), "all that was decoded is handed out first")
		}
	}
}

func TestReaderErrorIsFinal(t *testing.T) {
	data := compressed(6, words(1000))
	z, err := NewReader(io.MultiReader(bytes.NewReader(data[:300]), iotest.ErrReader(errTest), bytes.NewReader(data[300:])))
	require.NoError(t, err)
	defer z.Close()
	_, err = io.ReadAll(z)
	require.Equal(t, errTest, err)
	_, err = z.Read(make([]byte, 10))
	require.Equal(t, errTest, err)
	_, err = z.WriteTo(io.Discard)
	require.Equal(t, errTest, err)
}

// lazyReader returns nothing a number of times before each byte.
type lazyReader struct {
	data          []byte
	times, times0 int
}

func (r *lazyReader) Read(p []byte) (int, error) {
	if r.times > 0 {
		r.times--
		return 0, nil
	}
	r.times = r.times0
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:1], r.data)
	r.data = r.data[n:]
	return n, nil
}

func TestReaderWithoutProgress(t *testing.T) {
	data := compressed(6, words(300))
	v := written(&lazyReader{data: data, times0: maxEmptyReads - 1})
	require.NoError(t, v.err)
	require.Equal(t, words(300), v.data)
	v = written(&lazyReader{data: data, times0: maxEmptyReads})
	require.Equal(t, io.ErrNoProgress, v.err)
}

type countReader int

func (r countReader) Read(p []byte) (int, error) { return int(r), nil }

func TestReaderImpossibleCount(t *testing.T) {
	for _, n := range []int{-1, 1 << 30} {
		_, err := NewReader(countReader(n))
		require.Equal(t, errBadRead, err)
	}
}

// Flushed data must arrive though the sender then pauses. The reader here
// must not be asked for more before that.
func TestFlushed(t *testing.T) {
	var b bytes.Buffer
	w := newWriter(&b)
	var sent []string
	var ends []int
	for i := range 200 {
		s := strings.Repeat("m", i) + string(words(i*i%700)) + "\n"
		w.Write([]byte(s))
		require.NoError(t, w.Flush())
		sent = append(sent, s)
		ends = append(ends, b.Len())
	}
	require.NoError(t, w.Close())

	r := &upToReader{data: b.Bytes(), end: ends[0]}
	z, err := NewReader(r)
	require.NoError(t, err)
	defer z.Close()
	for i, s := range sent {
		r.end = ends[i]
		got := make([]byte, len(s))
		_, err := io.ReadFull(z, got)
		require.NoError(t, err)
		require.Equal(t, s, string(got))
	}
	r.end = b.Len()
	rest, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Empty(t, rest)
}

// upToReader returns data up to end, and then fails, but not for good.
type upToReader struct {
	data   []byte
	n, end int
}

func (r *upToReader) Read(p []byte) (int, error) {
	if r.n == len(r.data) {
		return 0, io.EOF
	}
	if r.n == r.end {
		return 0, errors.New("asked for more than was sent")
	}
	n := copy(p, r.data[r.n:r.end])
	r.n += n
	return n, nil
}

func TestReset(t *testing.T) {
	long, short := words(700_000), []byte("short")
	z, err := NewReader(bytes.NewReader(compressed(6, long)))
	require.NoError(t, err)
	for range 3 {
		_, err = io.CopyN(io.Discard, z, 400_000) // leaves it in the middle
		require.NoError(t, err)
		require.NoError(t, z.Reset(bytes.NewReader(compressed(6, short))))
		got, err := io.ReadAll(z)
		require.NoError(t, err)
		require.Equal(t, short, got)

		require.Equal(t, io.EOF, z.Reset(bytes.NewReader(nil)))
		_, err = z.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		n, err := z.WriteTo(io.Discard)
		require.NoError(t, err)
		require.Zero(t, n)

		// Nothing of an earlier stream is in reach of a later one.
		far := member(static1().code(0x30+'a', 8).code(1, 7).code(29, 5).bits(1<<13-1, 13).code(0, 7).buf, "")
		require.NoError(t, z.Reset(bytes.NewReader(far)))
		_, err = z.WriteTo(io.Discard)
		require.ErrorContains(t, err, reasonDistance)

		require.NoError(t, z.Reset(bytes.NewReader(compressed(6, long))))
	}
	require.NoError(t, z.Close())
}

func TestClose(t *testing.T) {
	data := compressed(6, []byte("text"))
	z, err := NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.NoError(t, z.Close())
	_, err = z.Read(make([]byte, 1))
	require.Equal(t, errClosed, err)
	_, err = z.WriteTo(io.Discard)
	require.Equal(t, errClosed, err)

	require.NoError(t, z.Reset(bytes.NewReader(data)))
	got, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Equal(t, "text", string(got))
	require.NoError(t, z.Close())
}

func TestReadThenWriteTo(t *testing.T) {
	text := words(600_000)
	z, err := NewReader(bytes.NewReader(compressed(6, text)))
	require.NoError(t, err)
	defer z.Close()
	n, err := z.Read(nil)
	require.NoError(t, err)
	require.Zero(t, n)
	head := make([]byte, 1000)
	_, err = io.ReadFull(z, head)
	require.NoError(t, err)
	var rest bytes.Buffer
	written, err := z.WriteTo(&rest)
	require.NoError(t, err)
	require.EqualValues(t, len(text)-1000, written)
	require.Equal(t, text, slices.Concat(head, rest.Bytes()))
}

// limitedWriter takes n bytes and then fails, or does less than asked.
type limitedWriter struct {
	n   int
	err error
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	if len(p) <= w.n {
		w.n -= len(p)
		return len(p), nil
	}
	n := w.n
	w.n = 0
	return n, w.err
}

func TestWriteToStops(t *testing.T) {
	text := words(600_000)
	data := compressed(6, text)
	for want, err := range map[error]error{errTest: errTest, io.ErrShortWrite: nil} {
		z, newErr := NewReader(bytes.NewReader(data))
		require.NoError(t, newErr)
		n, gotErr := z.WriteTo(&limitedWriter{300_000, err})
		require.Equal(t, want, gotErr)
		require.EqualValues(t, 300_000, n)

		// The data that was not taken is still there.
		var rest bytes.Buffer
		_, gotErr = z.WriteTo(&rest)
		require.NoError(t, gotErr)
		require.True(t, bytes.Equal(text[300_000:], rest.Bytes()))
		require.NoError(t, z.Close())
	}
}

// sizeWriter remembers how much it was given at once.
type sizeWriter []int

func (w *sizeWriter) Write(p []byte) (int, error) {
	*w = append(*w, len(p))
	return len(p), nil
}

func TestWriteToInLargeSlices(t *testing.T) {
	z, err := NewReader(iotest.OneByteReader(bytes.NewReader(compressed(6, words(2_000_000)))))
	require.NoError(t, err)
	defer z.Close()
	var sizes sizeWriter
	_, err = z.WriteTo(&sizes)
	require.NoError(t, err)
	for _, n := range sizes[:len(sizes)-1] {
		require.Greater(t, n, 200<<10)
		require.LessOrEqual(t, n, outSize)
	}
}

// A Reader allocates nothing for a stream of any length, beyond the Reader
// itself.
func TestMemory(t *testing.T) {
	data := compressed(6, words(1_000_000))
	r := bytes.NewReader(data)
	z, err := NewReader(r)
	require.NoError(t, err)
	defer z.Close()
	require.Zero(t, testing.AllocsPerRun(5, func() {
		r.Reset(data)
		if z.Reset(r) != nil {
			t.Fatal("reset")
		}
		if _, err := z.WriteTo(io.Discard); err != nil {
			t.Fatal(err)
		}
	}))
}

func TestOffset(t *testing.T) {
	data := compressed(6, words(100_000))
	for _, at := range []int{0, len(data)} {
		// The third byte of the second member's block header is wrong.
		b := append(bytes.Clone(data[:at]), member([]byte{7}, "")...)
		var corrupt *CorruptError
		require.ErrorAs(t, written(bytes.NewReader(b)).err, &corrupt)
		require.EqualValues(t, at+len(plainHeader)+1, corrupt.Offset)
	}
}
