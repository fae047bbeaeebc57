package inflate

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/raced"
)

// indexed returns data, its stream in several members, and an Index of it with points
// that are close to each other.
func indexed(t *testing.T, level int, every int64) (data, stream []byte, x *Index) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	for len(data) < 6<<20 {
		word := make([]byte, 1+r.IntN(30))
		for i := range word {
			word[i] = byte('a' + r.IntN(4))
		}
		data = append(data, bytes.Repeat(word, 1+r.IntN(20))...)
	}
	var b bytes.Buffer
	for part := range bytesIn(data, len(data)/3+1) {
		w, err := gzip.NewWriterLevel(&b, level)
		require.NoError(t, err)
		_, err = w.Write(part)
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
	x = NewIndex(bytes.NewReader(b.Bytes()), int64(b.Len()))
	x.every = every
	z, err := x.NewReader(bytes.NewReader(b.Bytes()))
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, z)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return data, b.Bytes(), x
}

func bytesIn(data []byte, size int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(data) > 0 && yield(data[:min(size, len(data))]) {
			data = data[min(size, len(data)):]
		}
	}
}

// An Index reads the right bytes everywhere: in stored blocks, in those with codes of their
// own and in the others, in the first member and behind it.
func TestIndexReadsAnywhere(t *testing.T) {
	for _, level := range []int{gzip.NoCompression, gzip.HuffmanOnly, gzip.BestSpeed, gzip.BestCompression} {
		data, _, x := indexed(t, level, 300_000)
		assert.Greater(t, len(x.points), 10)
		var inside int
		for _, p := range x.points {
			if p.state != atBlock {
				inside++
			}
		}
		assert.Positive(t, inside, "points within a block")
		var group sync.WaitGroup
		for seed := range uint64(3) {
			group.Go(func() {
				r := rand.New(rand.NewPCG(seed, 1))
				for range raced.Rounds(t, 10, 60) {
					off := r.IntN(len(data))
					p := make([]byte, r.IntN(400_000))
					n, err := x.ReadAt(p, int64(off))
					want := data[off:min(off+len(p), len(data))]
					if !assert.True(t, bytes.Equal(want, p[:n]), "level %d, %d bytes at %d", level, len(p), off) {
						return
					}
					if n < len(p) {
						assert.ErrorIs(t, err, io.EOF)
					} else {
						assert.NoError(t, err)
					}
				}
			})
		}
		group.Wait()
		_, err := x.ReadAt(make([]byte, 1), int64(len(data)))
		require.ErrorIs(t, err, io.EOF)
		_, err = x.ReadAt(make([]byte, 1), -1)
		require.Error(t, err)
		require.NoError(t, x.Close())
		assert.Empty(t, x.cursors)
	}
}

// A read costs no more than the data from the point to its end.
func TestIndexReadsLittle(t *testing.T) {
	data, stream, x := indexed(t, gzip.BestSpeed, 300_000)
	counted := &counter{r: bytes.NewReader(stream)}
	x.r = counted
	p := make([]byte, 1000)
	_, err := x.ReadAt(p, int64(len(data)-2000))
	require.NoError(t, err)
	assert.Less(t, counted.n, len(stream)/4)
	before := counted.n
	_, err = x.ReadAt(p, int64(len(data)-1000))
	require.NoError(t, err)
	assert.Equal(t, before, counted.n, "it goes on where it was")
}

type counter struct {
	r *bytes.Reader
	n int
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.n += n
	return n, err
}

// However long a stream is, there are no more points than there may be.
func TestIndexIsBounded(t *testing.T) {
	data := make([]byte, 1<<20)
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	size := raced.Rounds(t, 100, 400) // MiB
	for range size {
		_, err := w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	x := NewIndex(bytes.NewReader(b.Bytes()), int64(b.Len()))
	x.every = 1 << 18
	z, err := x.NewReader(bytes.NewReader(b.Bytes()))
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, z)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(x.points), maxPoints)
	assert.Greater(t, len(x.points), maxPoints/4)
	for i, p := range x.points[1:] {
		assert.LessOrEqual(t, p.out-x.points[i].out, 2*x.every)
	}
	got := make([]byte, 100)
	_, err = x.ReadAt(got, int64(size-1)<<20)
	require.NoError(t, err)
}

// A stream that has changed since it was read first is an error, or other data, but never
// anything worse.
func TestIndexOfChangedStream(t *testing.T) {
	data, stream, x := indexed(t, gzip.BestCompression, 300_000)
	r := rand.New(rand.NewPCG(3, 4))
	for range raced.Rounds(t, 10, 50) {
		changed := bytes.Clone(stream)
		for range 20 {
			changed[r.IntN(len(changed))] ^= byte(1 + r.IntN(255))
		}
		x.r = bytes.NewReader(changed[:len(changed)-r.IntN(1000)])
		_, _ = x.ReadAt(make([]byte, 500_000), r.Int64N(int64(len(data))))
		require.NoError(t, x.Close())
	}
	x.r = failing{}
	_, err := x.ReadAt(make([]byte, 1), 5<<20)
	require.ErrorIs(t, err, errFails)
}

var errFails = errors.New("fails")

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errFails }
