package compression

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"
)

const archives = "../../testdata/archives/"

// compress returns data in the form that newWriter makes.
func compress(t *testing.T, data []byte, newWriter func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := newWriter(&b)
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestAlgorithms(t *testing.T) {
	plain, err := os.ReadFile(archives + "skopeo.tar")
	require.NoError(t, err)
	bzip2, err := os.ReadFile(archives + "skopeo.tar.bz2") // Go has no writer for it.
	require.NoError(t, err)
	zstandard := compress(t, plain, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })
	skippable := append([]byte{0x5a, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 'h', 'i'}, zstandard...)
	for _, c := range []struct {
		name      string
		algorithm Algorithm
		data      []byte
	}{
		{"none", None, plain},
		{"gzip", Gzip, compress(t, plain, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })},
		{"zstd", Zstd, zstandard},
		{"zstd", Zstd, skippable},
		{"xz", XZ, compress(t, plain, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) })},
		{"bzip2", Bzip2, bzip2},
	} {
		assert.Equal(t, c.algorithm, Detect(c.data[:min(PrefixLen, len(c.data))]), c.name)
		assert.Equal(t, c.name, c.algorithm.String())
		r, err := NewReader(bytes.NewReader(c.data), c.algorithm)
		require.NoError(t, err, c.name)
		got, err := io.ReadAll(r)
		require.NoError(t, err, c.name)
		require.NoError(t, r.Close())
		assert.True(t, bytes.Equal(plain, got), c.name)

		failed := errors.New("source failed")
		half := io.MultiReader(bytes.NewReader(c.data[:len(c.data)/2]), iotest.ErrReader(failed))
		r, err = NewReader(half, c.algorithm)
		require.NoError(t, err, c.name)
		_, err = io.ReadAll(r)
		require.ErrorIs(t, err, failed, c.name)
		require.NoError(t, r.Close())
	}
}

func TestDetectShort(t *testing.T) {
	for _, prefix := range []string{"", "B", "BZ", "\x1f\x8b", "hello!"} {
		assert.Equal(t, None, Detect([]byte(prefix)), "%q", prefix)
	}
}

// A zstd stream may start with any of sixteen kinds of skippable frames.
func TestDetectSkippable(t *testing.T) {
	for first := range 0x100 {
		want := None
		if first >= 0x50 && first <= 0x5f {
			want = Zstd
		}
		assert.Equal(t, want, Detect([]byte{byte(first), 0x2a, 0x4d, 0x18}), "%x", first)
	}
	assert.Equal(t, None, Detect([]byte{0x50, 0x2a, 0x4d, 0x19}))
	assert.Equal(t, None, Detect(slices.Clip([]byte{0x50, 0x2a, 0x4d})))
}

// The first file of a layer may have any name.
func TestDetectTarWins(t *testing.T) {
	for _, name := range []string{"BZh91AY&SY", "\x1f\x8b\x08", "\x28\xb5\x2f\xfd", "P*M\x18"} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Format: tar.FormatGNU}))
		assert.Equal(t, None, Detect(b.Bytes()[:PrefixLen]), "%q", name)
		assert.NotEqual(t, None, Detect(b.Bytes()[:PrefixLen-1]), "%q", name)
	}
}

func TestDetectWholeMagic(t *testing.T) {
	for prefix, want := range map[string]Algorithm{
		"BZh9":                         None,
		"BZh-readme.txt":               None,
		"BZh0\x31\x41\x59\x26\x53\x59": None,
		"BZh1\x31\x41\x59\x26\x53\x59": Bzip2,
		"BZh9\x17\x72\x45\x38\x50\x90": Bzip2, // empty
		"\x1f\x8b\x08\x1f":             Gzip,
		"\x1f\x8b\x08\x20":             None,
	} {
		assert.Equal(t, want, Detect([]byte(prefix)), "%q", prefix)
	}
}

// A stream that wants more memory than it may have is refused.
func TestZstdWindow(t *testing.T) {
	for descriptor, want := range map[byte]error{
		17 << 3:   nil,                        // 128 MiB
		17<<3 | 1: zstd.ErrWindowSizeExceeded, // 1/8 more
		18 << 3:   zstd.ErrWindowSizeExceeded,
	} {
		// A header that says neither size nor checksum, and a last, raw block of 5 bytes.
		frame := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, descriptor, 5<<3 | 1, 0, 0}, "hello"...)
		r, err := NewReader(bytes.NewReader(frame), Zstd)
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.ErrorIs(t, err, want)
		if want == nil {
			assert.Equal(t, "hello", string(got))
		}
		require.NoError(t, r.Close())
	}
}

func TestNewReaderFails(t *testing.T) {
	_, err := NewReader(bytes.NewReader(nil), Bzip2+1)
	require.ErrorContains(t, err, "unknown algorithm")
	_, err = NewReader(bytes.NewReader([]byte("no such thing")), XZ)
	require.ErrorContains(t, err, "decompressing xz")
}
