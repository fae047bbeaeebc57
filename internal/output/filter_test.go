package output

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/leaktest"
)

var compressions = []compression.Algorithm{compression.Gzip, compression.Zstd}

// material returns a megabyte and more that can be compressed, a little.
func material() []byte {
	data := make([]byte, 1<<20+500_000)
	x := uint32(1)
	for i := range data {
		x = x*1664525 + 1013904223
		data[i] = byte(x>>28) + byte(i>>14)
	}
	return data
}

// compress writes data in pieces.
func compress(t *testing.T, a compression.Algorithm, data []byte, piece int) []byte {
	t.Helper()
	var b bytes.Buffer
	h := sha256.New()
	o, err := ToWriter(&b).With(Options{Compress: a, Hash: h})
	require.NoError(t, err)
	for rest := data; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
		_, err := o.Writer().Write(rest[:min(piece, len(rest))])
		require.NoError(t, err)
	}
	require.NoError(t, o.Commit(t.Context()))
	want := sha256.Sum256(b.Bytes())
	assert.Equal(t, want[:], h.Sum(nil))
	return b.Bytes()
}

// The bytes depend on the data only: not on the processors, nor on how it came.
func TestCompressedBytes(t *testing.T) {
	data := material()
	for _, a := range compressions {
		first := compress(t, a, data, 1<<20)
		for _, c := range []struct{ procs, piece int }{{1, 321_230}, {4, len(data)}} {
			old := runtime.GOMAXPROCS(c.procs)
			assert.True(t, bytes.Equal(first, compress(t, a, data, c.piece)), "%s with %v", a, c)
			runtime.GOMAXPROCS(old)
		}
		var r io.Reader
		var err error
		if a == compression.Gzip {
			r, err = pgzip.NewReader(bytes.NewReader(first))
		} else {
			r, err = zstd.NewReader(bytes.NewReader(first), zstd.WithDecoderMaxWindow(32<<20))
		}
		require.NoError(t, err)
		back, err := io.ReadAll(r)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(data, back), a)
	}
}

// A compressed archive appears complete or not at all, and is never ended if it
// is not complete.
func TestCompressedIsAtomic(t *testing.T) {
	for _, a := range compressions {
		dir := t.TempDir()
		path := filepath.Join(dir, "out")
		for _, commit := range []bool{false, true} {
			o, err := Create(t.Context(), path)
			require.NoError(t, err)
			o, err = o.With(Options{Compress: a})
			require.NoError(t, err)
			assert.True(t, o.Stream())
			assert.Nil(t, o.File())
			assert.NotEmpty(t, o.Dir())
			_, err = o.Writer().Write(material())
			require.NoError(t, err)
			assert.NoFileExists(t, path)
			if !commit {
				require.NoError(t, o.Abort())
				assert.NoFileExists(t, path)
				continue
			}
			require.NoError(t, o.Commit(t.Context()))
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, a, compression.Detect(data[:compression.PrefixLen]))
		}
	}
}

func TestAbortedStreamHasNoEnd(t *testing.T) {
	for _, a := range compressions {
		var b bytes.Buffer
		o, err := ToWriter(&b).With(Options{Compress: a})
		require.NoError(t, err)
		require.NoError(t, o.Abort())
		_, err = o.Writer().Write(material())
		_, again := o.Writer().Write(material())
		assert.Error(t, errors.Join(err, again))
		assert.Zero(t, b.Len())
	}
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestCompressedWriteFails(t *testing.T) {
	for _, a := range compressions {
		o, err := ToWriter(full{}).With(Options{Compress: a})
		require.NoError(t, err)
		_, err = o.Writer().Write(material())
		assert.ErrorIs(t, errors.Join(err, o.Commit(t.Context())), errFull)
	}
}

// soonFull fails from the second write on.
type soonFull struct{ full bool }

func (s *soonFull) Write(p []byte) (int, error) {
	if s.full {
		return 0, errFull
	}
	s.full = true
	return len(p), nil
}

// A compressor leaves no goroutine behind when its writer fails.
func TestCompressedWriteFailsAndIsAborted(t *testing.T) {
	before, data := goleak.IgnoreCurrent(), material()
	for _, a := range compressions {
		o, err := ToWriter(&soonFull{}).With(Options{Compress: a})
		require.NoError(t, err)
		for err == nil { // The compressor tells in its own time.
			_, err = o.Writer().Write(data)
		}
		require.ErrorIs(t, err, errFull)
		require.NoError(t, o.Abort())
	}
	leaktest.None(t, before)
}

func TestCompressionOfNames(t *testing.T) {
	for path, want := range map[string]compression.Algorithm{
		"a.tar": compression.None, "a.gz": compression.None, "a.tar.xz": compression.None, "-": compression.None,
		"a.tar.gz": compression.Gzip, "a.tgz": compression.Gzip, "a.tar.zst": compression.Zstd, "a.tzst": compression.Zstd,
	} {
		got, err := Compression(path, "")
		require.NoError(t, err)
		assert.Equal(t, want, got, path)
	}
	got, err := Compression("a.tgz", "none")
	require.NoError(t, err)
	assert.Equal(t, compression.None, got)
	_, err = Compression("a", "xz")
	assert.ErrorContains(t, err, "neither none, gzip nor zstd")
}
