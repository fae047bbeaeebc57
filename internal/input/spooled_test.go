package input

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/local"
)

func gzipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

var errLooks = errors.New("looks wrong")

// endless is a stream that does not end, and counts what is read of it.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	clear(p)
	e.n += int64(len(p))
	return len(p), nil
}

// Input that does not look right is not written, and little of it is read.
func TestLooksFirst(t *testing.T) {
	stream := &endless{}
	temp := new(written)
	wrong := func(prefix []byte) error {
		assert.Equal(t, make([]byte, LooksLen), prefix)
		return errLooks
	}
	_, err := copyUncompressed(t.Context(), temp, stream, wrong, limits{space: -1})
	require.ErrorIs(t, err, errLooks)
	assert.Zero(t, *temp)
	assert.LessOrEqual(t, stream.n, int64(1<<20))

	bomb := gzipped(t, make([]byte, 8<<20))
	path := filepath.Join(t.TempDir(), "bomb")
	require.NoError(t, os.WriteFile(path, bomb, 0o600))
	for name, open := range map[string]func(Options) (*File, error){
		"path":   func(o Options) (*File, error) { return Open(t.Context(), path, o) },
		"reader": func(o Options) (*File, error) { return FromReader(t.Context(), bytes.NewReader(bomb), o) },
		"readerAt": func(o Options) (*File, error) {
			return FromReaderAt(t.Context(), bytes.NewReader(bomb), int64(len(bomb)), o)
		},
	} {
		_, err := open(Options{Looks: wrong, TempDir: t.TempDir()})
		require.ErrorIs(t, err, errLooks, name)
	}
}

// written counts what is written.
type written int64

func (w *written) Write(p []byte) (int, error) {
	*w += written(len(p))
	return len(p), nil
}

// Content shorter than the look is looked at all the same, and an end is told
// from a cut.
func TestLooksAtShort(t *testing.T) {
	for _, content := range []string{"", "short"} {
		for _, stored := range [][]byte{[]byte(content), gzipped(t, []byte(content))} {
			looked := false
			f, err := FromReader(t.Context(), bytes.NewReader(stored), Options{TempDir: t.TempDir(), Looks: func(prefix []byte) error {
				looked = true
				assert.Equal(t, content, string(prefix))
				return nil
			}})
			require.NoError(t, err)
			assert.True(t, looked)
			assert.EqualValues(t, len(content), f.Size())
			require.NoError(t, f.Close())
		}
	}
	cut := gzipped(t, []byte("short"))
	_, err := FromReader(t.Context(), bytes.NewReader(cut[:len(cut)-9]), Options{TempDir: t.TempDir(), Looks: func([]byte) error { return errLooks }})
	require.ErrorIs(t, err, errdef.ErrDamaged)
}

// A compressed stream may be as much larger as real ones are, and leaves space on
// the disk.
func TestTooLarge(t *testing.T) {
	const size = 8 << 20
	bomb := gzipped(t, make([]byte, size))
	ratio := int64(size / len(bomb))
	for name, test := range map[string]struct {
		limits
		stored []byte
		want   error
	}{
		"modest":             {limits{modest: size, ratio: 1, space: -1}, bomb, nil},
		"ratio":              {limits{modest: size - 1, ratio: ratio - 1, space: -1}, bomb, ErrTooLarge},
		"less":               {limits{modest: size - 1, ratio: ratio + 1, space: -1}, bomb, nil},
		"disk":               {limits{modest: size, ratio: 1, space: size - 1}, bomb, ErrTooLarge},
		"fits":               {limits{modest: size, ratio: 1, space: size}, bomb, nil},
		"plain has no ratio": {limits{modest: 1, ratio: 1, space: size}, make([]byte, size), nil},
		"plain on disk":      {limits{modest: 1, ratio: 1, space: size - 1}, make([]byte, size), ErrTooLarge},
	} {
		temp := new(written)
		got, err := copyUncompressed(t.Context(), temp, bytes.NewReader(test.stored), nil, test.limits)
		if test.want != nil {
			require.ErrorIs(t, err, test.want, name)
			assert.Less(t, int64(*temp), int64(size), name)
			continue
		}
		require.NoError(t, err, name)
		assert.EqualValues(t, size, got, name)
		assert.EqualValues(t, size, *temp, name)
	}
}

// The limits that hold: a gigabyte whatever it was, a thousand times more beyond,
// and never all of the disk.
func TestLimits(t *testing.T) {
	l := limitsOf(t.TempDir())
	l.space = -1
	require.NoError(t, l.check(1<<30, 1))
	require.ErrorIs(t, l.check(1<<30+1, 1<<20), ErrTooLarge)
	require.NoError(t, l.check(1<<30+1, 2<<20))
	if free := limitsOf(t.TempDir()).space; free >= 0 {
		l.space = free
		require.ErrorIs(t, l.check(free+1, -1), ErrTooLarge)
	}
}

func TestFromReaders(t *testing.T) {
	content := bytes.Repeat([]byte("content "), 1<<17)
	for _, stored := range [][]byte{content, gzipped(t, content)} {
		o := Options{TempDir: t.TempDir()}
		streamed, err := FromReader(t.Context(), iotest.HalfReader(bytes.NewReader(stored)), o)
		require.NoError(t, err)
		random, err := FromReaderAt(t.Context(), bytes.NewReader(stored), int64(len(stored)), o)
		require.NoError(t, err)
		for _, f := range []*File{streamed, random} {
			got, err := io.ReadAll(f)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(content, got))
			require.NoError(t, f.Close())
		}
	}
}

// An input that can be read in place is: it needs no directory for temporary
// files.
func TestFromReaderAtInPlace(t *testing.T) {
	f, err := FromReaderAt(t.Context(), bytes.NewReader([]byte("content, more")), 7, Options{TempDir: filepath.Join(t.TempDir(), "none")})
	require.NoError(t, err)
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	assert.Equal(t, "content", string(got))
	require.NoError(t, f.Close())
}

// hung does not return before it is told to.
type hung chan struct{}

func (h hung) Read([]byte) (int, error)          { <-h; return 0, io.EOF }
func (h hung) ReadAt([]byte, int64) (int, error) { <-h; return 0, io.EOF }

func TestHungReaders(t *testing.T) {
	gone := errors.New("gone")
	h := make(hung)
	for name, open := range map[string]func(context.Context) (*File, error){
		"reader": func(ctx context.Context) (*File, error) { return FromReader(ctx, h, Options{TempDir: t.TempDir()}) },
		"readerAt": func(ctx context.Context) (*File, error) {
			return FromReaderAt(ctx, h, 10, Options{TempDir: t.TempDir()})
		},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() {
			_, err := open(ctx)
			done <- err
		}()
		cancel(gone)
		require.ErrorIs(t, <-done, gone, name)
	}
	close(h)
}

// A full disk of ours is not the stream's fault.
func TestLocalErrors(t *testing.T) {
	_, err := FromReader(t.Context(), bytes.NewReader(nil), Options{TempDir: filepath.Join(t.TempDir(), "none")})
	var failed *local.Error
	require.True(t, errors.As(err, &failed))
	full := failing{&local.Error{Op: "write", Path: "x", Err: errLooks}}
	_, err = copyUncompressed(t.Context(), full, &endless{}, nil, limits{space: -1})
	require.ErrorIs(t, err, errLooks)
	require.Equal(t, "write x: looks wrong", err.Error(), "said once")
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
