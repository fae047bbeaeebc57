package inflate

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// verdict is what a decompressor makes of a stream.
type verdict struct {
	data []byte
	err  error
}

// standards are readers of compress/gzip, which are slow to make.
var standards = sync.Pool{New: func() any { return new(gzip.Reader) }}

// standard is the verdict of compress/gzip.
func standard(data []byte) verdict {
	z := standards.Get().(*gzip.Reader)
	defer standards.Put(z)
	if err := z.Reset(bytes.NewReader(data)); err != nil {
		return verdict{err: err}
	}
	out, err := io.ReadAll(z)
	return verdict{out, err}
}

// written is ours, by WriteTo.
func written(r io.Reader) verdict {
	z, err := NewReader(r)
	if err != nil {
		return verdict{err: err}
	}
	defer z.Close()
	var w bytes.Buffer
	_, err = z.WriteTo(&w)
	return verdict{w.Bytes(), err}
}

// read is ours, by Read with sizes up to max.
func read(r io.Reader, max int, rng *rand.Rand) verdict {
	z, err := NewReader(r)
	if err != nil {
		return verdict{err: err}
	}
	defer z.Close()
	p := make([]byte, max)
	var out []byte
	for {
		n, err := z.Read(p[:rng.IntN(max+1)])
		out = append(out, p[:n]...)
		if err == io.EOF {
			return verdict{out, nil}
		}
		if err != nil {
			return verdict{out, err}
		}
	}
}

// cutReader returns data in pieces of random size, mostly small, and its
// final error sometimes together with the last piece.
type cutReader struct {
	data []byte
	err  error
	rng  *rand.Rand
}

func (r *cutReader) Read(p []byte) (int, error) {
	n := 1
	switch r.rng.IntN(4) {
	case 0:
		n = 1 + r.rng.IntN(40)
	case 1:
		n = 1 + r.rng.IntN(3000)
	case 2:
		n = 0
	}
	n = copy(p[:min(n, len(p))], r.data)
	r.data = r.data[n:]
	if len(r.data) == 0 && r.rng.IntN(2) == 0 {
		return n, r.err
	}
	if n == 0 && len(r.data) == 0 {
		return 0, r.err
	}
	return n, nil
}

// requireSameError checks that ours is the same kind of error as theirs.
func requireSameError(t *testing.T, theirs, ours error) {
	t.Helper()
	var theirCorrupt, ourCorrupt flate.CorruptInputError
	switch {
	case theirs == nil, theirs == io.EOF, theirs == io.ErrUnexpectedEOF:
		require.Equal(t, theirs, ours)
	case errors.Is(theirs, gzip.ErrHeader), errors.Is(theirs, gzip.ErrChecksum):
		require.ErrorIs(t, ours, theirs)
		require.ErrorAs(t, ours, new(*CorruptError))
	case errors.As(theirs, &theirCorrupt):
		require.ErrorAs(t, ours, &ourCorrupt)
		require.ErrorAs(t, ours, new(*CorruptError))
	default:
		require.ErrorIs(t, ours, theirs)
	}
}

// requireSame checks that this package's verdict on data is that of
// compress/gzip, however the input and the output are cut.
func requireSame(t *testing.T, data []byte, seed uint64) verdict {
	t.Helper()
	theirs := standard(data)
	ours := written(bytes.NewReader(data))
	requireSameError(t, theirs.err, ours.err)
	require.True(t, bytes.Equal(theirs.data, ours.data), "data differs: %d bytes, want %d", len(ours.data), len(theirs.data))

	rng := rand.New(rand.NewPCG(seed, 1))
	cut := written(&cutReader{data, io.EOF, rng})
	require.Equal(t, ours.err, cut.err, "in pieces")
	require.True(t, bytes.Equal(ours.data, cut.data), "in pieces")

	cut = read(&cutReader{data, io.EOF, rng}, 1+rng.IntN(min(100_000, 10+2*len(ours.data))), rng)
	require.Equal(t, ours.err, cut.err, "by Read")
	require.True(t, bytes.Equal(ours.data, cut.data), "by Read")
	return ours
}
