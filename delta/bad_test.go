package delta

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/deflate"
)

func spansOf(ctx context.Context, numbers []byte, newSize, oldSize int64) *spanReader {
	s := &stream{source: rememberingReader{r: bytes.NewReader(numbers)}, left: int64(len(numbers)), buf: make([]byte, 0, streamBuffer)}
	return &spanReader{ctx: ctx, s: s, newSize: newSize, oldSize: oldSize}
}

// A delta has few copies, so that applying it takes time in proportion to its target.
func TestManyCopies(t *testing.T) {
	const size = 64 << 10
	numbers := bytes.Repeat([]byte{0, 0, 1}, size)
	copies := spansOf(t.Context(), numbers, size, size)
	var err error
	n := int64(0)
	for ; err == nil; n++ {
		_, err = copies.next()
	}
	require.ErrorIs(t, err, ErrDamaged)
	assert.Equal(t, mostCopies(size)+1, n)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	copies = spansOf(ctx, numbers, size, size)
	for n, err = 0, nil; err == nil; n++ {
		_, err = copies.next()
	}
	require.ErrorIs(t, err, context.Canceled)
	assert.LessOrEqual(t, n, int64(askEvery))

	old, text := inTurn(512 << 10) // Make keeps to it.
	made := int64(0)
	require.NoError(t, findCopies(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(text), int64(len(text)), func(span) error {
		made++
		return nil
	}))
	assert.Less(t, mostCopies(int64(len(text)))/2, made)
	assert.LessOrEqual(t, made, mostCopies(int64(len(text))))
}

// The index of tokens has a bound for all bases, however much they expand.
func TestTokenIndex(t *testing.T) {
	f, err := newTokenFile(t.TempDir(), maxBases)
	require.NoError(t, err)
	defer f.Close()
	batch := make([]deflate.Token, 1<<12)
	for i := range batch {
		batch[i] = deflate.Match(100+i%158, 1)
	}
	for f.pos < 256<<20 {
		f.add(batch)
	}
	require.NoError(t, f.finish())
	assert.LessOrEqual(t, len(f.index), allSteps/maxBases)
	assert.Greater(t, len(f.index), allSteps/maxBases/3)
	for i, p := range f.index {
		require.LessOrEqual(t, int64(i)*f.step, p.pos)
		require.Less(t, p.pos, int64(i)*f.step+maxRun+deflate.MaxMatch)
	}
	r := &tokenReader{t: f}
	for pos := f.pos - 1000; pos > 0; pos -= pos/3 + 1 {
		r.seek(pos)
		n, _ := r.peek()
		require.NotZero(t, n)
		require.GreaterOrEqual(t, r.pos, pos)
		require.Less(t, r.pos, pos+deflate.MaxMatch)
	}
}

// A text has a bound, whatever a delta says.
func TestBombs(t *testing.T) {
	assert.Equal(t, int64(10*1032+1031), mostText(Gzip, 10))
	assert.Equal(t, int64(1<<30), mostText(Zstd, 10))
	assert.Equal(t, int64(100<<30), mostText(Zstd, 1<<30))
	w := &textWriter{w: io.Discard, limit: sizeLimit, most: 10}
	_, err := w.Write(make([]byte, 10))
	require.NoError(t, err)
	_, err = w.Write([]byte{1})
	require.ErrorIs(t, err, ErrLargeBase)
	require.NotErrorIs(t, err, ErrWrongBase)
}

// A damaged base is not called a wrong one, nor is one whose window is too large.
func TestDamagedBases(t *testing.T) {
	old, target, oldText, text := pair(t, "unknown")
	needing := made(t, target, old)
	require.True(t, needing.NeedsCompressedBases())
	other := made(t, compress(t, "go", 6, text), old)
	require.False(t, other.NeedsCompressedBases())
	bad := slices.Clone(compress(t, "go", 0, oldText)) // Its blocks are stored.
	bad[1000] ^= 1
	for _, d := range []*Delta{needing, other} {
		err := d.Apply(t.Context(), io.Discard, sources(bad), nil)
		require.ErrorIs(t, err, ErrDamagedBase)
		require.NotErrorIs(t, err, ErrWrongBase)
	}

	var large bytes.Buffer
	w, err := zstd.NewWriter(&large, zstd.WithWindowSize(64<<20))
	require.NoError(t, err)
	_, err = w.Write(oldText[:100])
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	_, err = w.Write(oldText[100:])
	require.NoError(t, err)
	require.NoError(t, w.Close())
	err = other.Apply(t.Context(), io.Discard, sources(large.Bytes()), nil)
	require.ErrorIs(t, err, ErrLargeBase)
	require.NotErrorIs(t, err, ErrWrongBase)
	require.NotErrorIs(t, err, ErrDamagedBase)
}

// Reserved flags of a member mean nothing, as in Go.
func TestReservedFlags(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	text := someText(r, 100_000)
	first := compress(t, "go", -1, text)
	second := slices.Clone(first)
	second[3] = 0xe0
	for _, target := range [][]byte{second, slices.Concat(first, second)} {
		h, _ := roundTrip(t, target, text)
		require.NotNil(t, h)
		assert.Equal(t, Gzip, h.Target.Form)
		assert.Equal(t, int64(len(text)*(len(target)/len(first))), h.Target.TextSize)
	}
}

// changing is a blob whose content changes after so many reads.
type changing struct {
	*bytes.Reader
	reads, from int
	other       []byte
}

func (c *changing) ReadAt(p []byte, off int64) (int, error) {
	if c.reads++; c.reads > c.from {
		return bytes.NewReader(c.other).ReadAt(p, off)
	}
	return c.Reader.ReadAt(p, off)
}

// A delta that does not lead to its target is no delta, and no failure.
func TestUnfaithful(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	text := someText(r, 100_000)
	target := compress(t, "go", -1, text)
	other := slices.Clone(target)
	other[len(other)-6] ^= 1 // of the checksum
	none := 0
	for from := range 20 {
		_, err := Make(t.Context(), io.Discard, &changing{bytes.NewReader(target), 0, from, other}, sources(text), nil)
		if errors.Is(err, ErrNoGain) {
			none++
			continue
		}
		require.NoError(t, err, "%d", from)
	}
	assert.NotZero(t, none)
}

// failingOnce is a blob of which one read fails.
type failingOnce struct {
	*bytes.Reader
	reads, at int
	err       error
}

func (f *failingOnce) ReadAt(p []byte, off int64) (int, error) {
	if f.reads++; f.reads == f.at {
		return 0, f.err
	}
	return f.Reader.ReadAt(p, off)
}

// A read error of the target is an error of Make, and does not change the delta.
func TestTargetCannotBeRead(t *testing.T) {
	noise, _ := inTurn(150_000)
	base := append([]byte("x"), noise...)
	for _, fault := range []error{errors.New("fault"), io.ErrUnexpectedEOF} {
		for _, level := range []int{gzip.NoCompression, gzip.DefaultCompression, gzip.HuffmanOnly} {
			target := compress(t, "go", level, noise)
			count := &failingOnce{Reader: bytes.NewReader(target)}
			var want bytes.Buffer
			_, err := Make(t.Context(), &want, count, sources(base), nil)
			require.NoError(t, err)
			failed := 0
			for at := range count.reads {
				var got bytes.Buffer
				_, err := Make(t.Context(), &got, &failingOnce{bytes.NewReader(target), 0, at + 1, fault}, sources(base), nil)
				if err != nil {
					failed++
					require.ErrorIs(t, err, fault, "read %d at level %d", at, level)
					continue
				}
				require.True(t, bytes.Equal(want.Bytes(), got.Bytes()), "read %d at level %d", at, level)
			}
			assert.NotZero(t, failed)
		}
	}
}

// rewritten returns the delta with frames that change has made of its streams.
func rewritten(t *testing.T, d *Delta, change func(h *Header, i int, raw []byte, z *zstd.Encoder) []byte) *Delta {
	t.Helper()
	h := d.Header
	z, err := zstd.NewWriter(nil, zstd.WithWindowSize(maxWindow), zstd.WithZeroFrames(true))
	require.NoError(t, err)
	var out bytes.Buffer
	for i := range h.sizes {
		s, err := d.open(i)
		require.NoError(t, err)
		raw := make([]byte, s.left)
		require.NoError(t, s.read(raw))
		s.Close()
		h.sizes[i].raw = int64(len(raw))
		n, _ := out.Write(change(&h, i, raw, z))
		h.sizes[i].stored = int64(n)
	}
	file := append(h.encode(), out.Bytes()...)
	r, err := Open(bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	return r
}

// Everything that a delta has must be read, and be right.
func TestNothingBehind(t *testing.T) {
	file, old, _ := small(t)
	d, err := Open(bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	for name, change := range map[string]func(h *Header, i int, raw []byte, z *zstd.Encoder) []byte{
		"more content": func(_ *Header, _ int, raw []byte, z *zstd.Encoder) []byte {
			return z.EncodeAll(append(raw, "more"...), nil)
		},
		"another frame": func(_ *Header, _ int, raw []byte, z *zstd.Encoder) []byte {
			return z.EncodeAll([]byte("more"), z.EncodeAll(raw, nil))
		},
		"no frame": func(_ *Header, _ int, raw []byte, z *zstd.Encoder) []byte {
			return append(z.EncodeAll(raw, nil), "more"...)
		},
		"text": func(h *Header, i int, raw []byte, z *zstd.Encoder) []byte {
			if i == 0 {
				h.Target.TextDigest[0] ^= 1
			}
			return z.EncodeAll(raw, nil)
		},
		"flags": func(_ *Header, i int, raw []byte, z *zstd.Encoder) []byte {
			if i == streamBlocks {
				raw[0] |= 0x80
			}
			return z.EncodeAll(raw, nil)
		},
		"frame of an empty stream": func(h *Header, i int, raw []byte, z *zstd.Encoder) []byte {
			if i == streamGaps {
				h.sizes[i].raw = 0
				raw = nil
			}
			return z.EncodeAll(raw, nil)
		},
	} {
		err := rewritten(t, d, change).Apply(t.Context(), io.Discard, sources(old), nil)
		require.ErrorIs(t, err, ErrDamaged, name)
	}
	same := func(_ *Header, _ int, raw []byte, z *zstd.Encoder) []byte {
		if len(raw) == 0 {
			return nil
		}
		return z.EncodeAll(raw, nil)
	}
	require.NoError(t, rewritten(t, d, same).Apply(t.Context(), io.Discard, sources(old), nil))
}
