package delta

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	kgzip "github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// someText returns text that compresses as files do: words, repeats, noise.
func someText(r *rand.Rand, size int) []byte {
	out := make([]byte, 0, size+3000)
	for len(out) < size {
		switch k := r.IntN(20); {
		case k == 0:
			for range r.IntN(500) {
				out = append(out, byte(r.Uint32()))
			}
		case k == 1:
			out = append(out, make([]byte, r.IntN(3000))...)
		case k < 8 && len(out) > 0:
			from := max(0, len(out)-1-r.IntN(60000))
			n := min(r.IntN(400), len(out)-from)
			out = append(out, out[from:from+n]...)
		default:
			out = fmt.Appendf(out, "word%d ", r.IntN(300))
		}
	}
	return out[:size]
}

// changed returns text as it may look after a change: bytes differ, pieces are
// new, missing or elsewhere.
func changed(r *rand.Rand, text []byte) []byte {
	out := slices.Clone(text)
	for range r.IntN(12) {
		if len(out) == 0 {
			break
		}
		at := r.IntN(len(out))
		n := min(r.IntN(5000), len(out)-at)
		switch r.IntN(4) {
		case 0:
			for i := at; i < at+n; i += 1 + r.IntN(60) {
				out[i] += byte(r.IntN(5))
			}
		case 1:
			out = slices.Insert(out, at, someText(r, n)...)
		case 2:
			out = slices.Delete(out, at, at+n)
		case 3:
			piece := slices.Clone(out[at : at+n])
			out = slices.Insert(slices.Delete(out, at, at+n), r.IntN(len(out)-n+1), piece...)
		}
	}
	return out
}

// compressors are all kinds of blobs that a layer may be.
var compressors = []string{"plain", "go", "klauspost", "pgzip", "members", "tail", "broken", "zstd"}

func compress(t testing.TB, kind string, level int, text []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser
	var err error
	switch kind {
	case "plain":
		return text
	case "go":
		w, err = gzip.NewWriterLevel(&buf, level)
	case "klauspost":
		w, err = kgzip.NewWriterLevel(&buf, level)
	case "pgzip":
		w, err = pgzip.NewWriterLevel(&buf, level)
	case "members":
		half := len(text) / 2
		return append(compress(t, "go", level, text[:half]), compress(t, "klauspost", level, text[half:])...)
	case "tail":
		return append(compress(t, "go", level, text), "\x00\x00\x00\x00 behind the end"...)
	case "broken":
		b := compress(t, "go", level, text)
		return b[:len(b)-len(b)/3]
	case "zstd":
		w, err = zstd.NewWriter(&buf)
	}
	require.NoError(t, err)
	_, err = w.Write(text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.Bytes()
}

func sources(blobs ...[]byte) (s []Source) {
	for _, b := range blobs {
		s = append(s, bytes.NewReader(b))
	}
	return s
}

// roundTrip makes a delta and applies it, if there is one.
func roundTrip(t testing.TB, target []byte, bases ...[]byte) (*Header, []byte) {
	t.Helper()
	var file bytes.Buffer
	h, err := Make(t.Context(), &file, bytes.NewReader(target), sources(bases...), &MakeOptions{TempDir: t.TempDir()})
	if errors.Is(err, ErrNoGain) {
		require.Zero(t, file.Len())
		return nil, nil
	}
	require.NoError(t, err)
	require.Less(t, file.Len(), len(target))
	d, err := Open(bytes.NewReader(file.Bytes()), int64(file.Len()))
	require.NoError(t, err)
	require.Equal(t, *h, d.Header)
	assert.Equal(t, Digest(sha256.Sum256(target)), d.Target.Digest)
	var got bytes.Buffer
	require.NoError(t, d.Apply(t.Context(), &got, sources(bases...), nil))
	require.True(t, bytes.Equal(target, got.Bytes()))
	return h, file.Bytes()
}

// pairs returns how many pairs to try: 2000 by hand, $DELTA_PAIRS.
func pairs(t testing.TB) uint64 { return uint64(fromEnv(t, "DELTA_PAIRS", 30)) }

func fromEnv(t testing.TB, name string, n int) int {
	if s := os.Getenv(name); s != "" {
		_, err := fmt.Sscan(s, &n)
		require.NoError(t, err)
	}
	return n
}

func TestRandomPairs(t *testing.T) {
	made := 0
	for seed := range pairs(t) {
		r := rand.New(rand.NewPCG(seed, 7))
		size := r.IntN(1 << (8 + r.IntN(13)))
		old := someText(r, size)
		text := changed(r, old)
		var bases [][]byte
		for range r.IntN(3) {
			kind := compressors[r.IntN(len(compressors))]
			bases = append(bases, compress(t, kind, r.IntN(12)-2, changed(r, old)))
		}
		kind, level := compressors[r.IntN(len(compressors))], r.IntN(12)-2
		if r.IntN(2) == 0 { // the usual case: the same compressor
			bases = append(bases, compress(t, kind, level, old))
		}
		if h, _ := roundTrip(t, compress(t, kind, level, text), bases...); h != nil {
			made++
		}
	}
	assert.Greater(t, made, int(pairs(t)/4))
}

// pair returns two layers of a real size, and the texts of which they are made.
func pair(t testing.TB, kind string) (old, target, oldText, text []byte) {
	r := rand.New(rand.NewPCG(1, 1))
	oldText = someText(r, 3<<20)
	text = oldText
	for range 4 {
		text = changed(r, text)
	}
	return compress(t, kind, -1, oldText), compress(t, kind, -1, text), oldText, text
}

func TestSmall(t *testing.T) {
	for _, kind := range []string{"plain", "go", "klauspost", "pgzip"} {
		old, target, _, _ := pair(t, kind)
		h, file := roundTrip(t, target, old)
		require.NotNil(t, h)
		assert.Less(t, len(file), len(target)/12, kind)
	}
}

func TestSameBytes(t *testing.T) {
	old, target, _, _ := pair(t, "go")
	_, a := roundTrip(t, target, old)
	_, b := roundTrip(t, target, old)
	assert.True(t, bytes.Equal(a, b))
}

func TestNoGain(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	for _, target := range [][]byte{nil, []byte("x"), noise, compress(t, "zstd", 0, noise)} {
		var file bytes.Buffer
		_, err := Make(t.Context(), &file, bytes.NewReader(target), sources([]byte("something else")), nil)
		require.ErrorIs(t, err, ErrNoGain)
		assert.Zero(t, file.Len())
	}
}

func made(t testing.TB, target []byte, bases ...[]byte) *Delta {
	t.Helper()
	var file bytes.Buffer
	_, err := Make(t.Context(), &file, bytes.NewReader(target), sources(bases...), nil)
	require.NoError(t, err)
	d, err := Open(bytes.NewReader(file.Bytes()), int64(file.Len()))
	require.NoError(t, err)
	return d
}

func TestBases(t *testing.T) {
	old, target, oldText, text := pair(t, "klauspost")
	d := made(t, target, old)
	require.Equal(t, OldTokens, d.Predictor)
	require.True(t, d.NeedsCompressedBases())
	apply := func(d *Delta, bases ...[]byte) error { return d.Apply(t.Context(), io.Discard, sources(bases...), nil) }
	require.NoError(t, apply(d, old))
	require.ErrorIs(t, apply(d), ErrWrongBase)
	require.ErrorIs(t, apply(d, old, old), ErrWrongBase)
	require.ErrorIs(t, apply(d, target), ErrWrongBase)
	require.ErrorIs(t, apply(d, []byte{}), ErrWrongBase)
	require.ErrorIs(t, apply(d, oldText), ErrNeedsCompressedBase)
	require.ErrorIs(t, apply(d, oldText), ErrWrongBase)
	require.ErrorIs(t, apply(d, compress(t, "go", 1, oldText)), ErrNeedsCompressedBase)
	require.ErrorIs(t, apply(d, compress(t, "zstd", 0, oldText)), ErrNeedsCompressedBase)
	require.ErrorIs(t, apply(d, compress(t, "broken", 6, oldText)), ErrDamagedBase)
	require.ErrorIs(t, apply(d, compress(t, "go", 6, make([]byte, 100<<20))), ErrWrongBase)

	for name, d := range map[string]*Delta{ // the text of the base will do
		"not compressed": made(t, text, old), "of a known encoder": made(t, compress(t, "go", 6, text), old),
		"from a plain base": made(t, compress(t, "go", 6, text), oldText),
	} {
		require.False(t, d.NeedsCompressedBases(), name)
		for _, kind := range []string{"plain", "klauspost", "members", "zstd"} {
			require.NoError(t, apply(d, compress(t, kind, 5, oldText)), "%s, %s", name, kind)
		}
		require.ErrorIs(t, apply(d, text), ErrWrongBase, name)
	}
}

func TestTextOnly(t *testing.T) {
	old, target, oldText, _ := pair(t, "klauspost")
	var file bytes.Buffer
	h, err := Make(t.Context(), &file, bytes.NewReader(target), sources(old), &MakeOptions{TextOnly: true})
	require.NoError(t, err)
	require.False(t, h.NeedsCompressedBases())
	d, err := Open(bytes.NewReader(file.Bytes()), int64(file.Len()))
	require.NoError(t, err)
	var got bytes.Buffer
	require.NoError(t, d.Apply(t.Context(), &got, sources(oldText), nil))
	assert.True(t, bytes.Equal(target, got.Bytes()))
}

// A base that fails is not a wrong one, nor is the delta damaged.
func TestErrorsOfOthers(t *testing.T) {
	old, target, _, _ := pair(t, "go")
	fault := errors.New("fault")
	d := made(t, target, old)
	for _, after := range []int64{0, 3, 100, int64(len(old)) / 2, int64(len(old)) - 1} {
		bad := failingSource{bytes.NewReader(old), after, fault}
		err := d.Apply(t.Context(), io.Discard, []Source{bad}, nil)
		require.ErrorIs(t, err, fault)
		require.NotErrorIs(t, err, ErrWrongBase)
		require.NotErrorIs(t, err, ErrDamagedBase)
		_, err = Make(t.Context(), io.Discard, bad, sources(old), nil)
		require.ErrorIs(t, err, fault)
		_, err = Make(t.Context(), io.Discard, bytes.NewReader(target), []Source{bad}, nil)
		require.ErrorIs(t, err, fault)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fault)
	require.ErrorIs(t, d.Apply(ctx, io.Discard, sources(old), nil), fault)
	require.ErrorIs(t, d.Apply(t.Context(), failingWriter{fault}, sources(old), nil), fault)
	_, err := Make(ctx, io.Discard, bytes.NewReader(target), sources(old), nil)
	require.ErrorIs(t, err, fault)
	_, err = Make(t.Context(), failingWriter{fault}, bytes.NewReader(target), sources(old), nil)
	require.ErrorIs(t, err, fault)
	require.Error(t, d.Apply(t.Context(), io.Discard, sources(old), &ApplyOptions{TempDir: "/nowhere"}))
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

type failingSource struct {
	*bytes.Reader
	after int64
	err   error
}

func (s failingSource) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > s.after {
		return 0, s.err
	}
	return s.Reader.ReadAt(p, off)
}

// small returns a delta of few bytes that uses everything: all streams and, since
// no model is of its encoder, the tokens of the base.
func small(t testing.TB) (file []byte, old, target []byte) {
	r := rand.New(rand.NewPCG(3, 3))
	text := someText(r, 60000)
	old = compress(t, "klauspost", 3, text)
	for range 3 {
		text = changed(r, text)
	}
	half := len(text) / 2
	target = slices.Concat(compress(t, "klauspost", 3, text[:half]), compress(t, "go", 2, text[half:]), []byte{0, 0, 0})
	h, file := roundTrip(t, target, old)
	require.NotNil(t, h)
	require.Equal(t, OldTokens, h.Predictor)
	return file, old, target
}

func TestTruncated(t *testing.T) {
	file, _, _ := small(t)
	for n := range file {
		_, err := Open(bytes.NewReader(file[:n]), int64(n))
		require.ErrorIs(t, err, ErrDamaged, "%d", n)
	}
	_, err := Open(bytes.NewReader(append(file, 0)), int64(len(file)+1))
	require.ErrorIs(t, err, ErrDamaged)
	fault := errors.New("fault")
	_, err = Open(failingSource{bytes.NewReader(file), 10, fault}, int64(len(file)))
	require.ErrorIs(t, err, fault)
	require.NotErrorIs(t, err, ErrDamaged)
}

func TestMutated(t *testing.T) {
	file, old, target := small(t)
	r := rand.New(rand.NewPCG(4, 4))
	for range fromEnv(t, "DELTA_MUTATIONS", 150) {
		b := slices.Clone(file)
		for range 1 + r.IntN(3) {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
		applyHostile(t, b, old, target)
	}
}

// applyHostile applies what may be anything: it is the target, or an error.
func applyHostile(t testing.TB, file, old, target []byte) {
	d, err := Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return
	}
	var got bytes.Buffer
	if err := d.Apply(t.Context(), &got, sources(old), nil); err == nil {
		require.True(t, bytes.Equal(target, got.Bytes()))
	} else {
		require.True(t, errors.Is(err, ErrDamaged) || errors.Is(err, ErrWrongBase), "%v", err)
	}
}

// The streams are changed where checksums do not notice: before they are compressed.
func TestMutatedStreams(t *testing.T) {
	file, old, target := small(t)
	d, err := Open(bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(5, 5))
	for range fromEnv(t, "DELTA_MUTATIONS", 150) {
		applyHostile(t, mutateStream(t, d, r.IntN(numStreams), func(b []byte) []byte {
			if len(b) == 0 || r.IntN(8) == 0 {
				return append(b, byte(r.Uint32()))
			}
			if r.IntN(8) == 0 {
				return b[:r.IntN(len(b))]
			}
			b[r.IntN(len(b))] = byte(r.Uint32())
			return b
		}), old, target)
	}
}

// mutateStream returns the delta with a stream that is changed.
func mutateStream(t testing.TB, d *Delta, i int, change func([]byte) []byte) []byte {
	t.Helper()
	h := d.Header
	var out bytes.Buffer
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(maxWindow), zstd.WithZeroFrames(true))
	require.NoError(t, err)
	for k := range h.sizes {
		s, err := d.open(k)
		require.NoError(t, err)
		raw := make([]byte, s.left)
		require.NoError(t, s.read(raw))
		s.Close()
		if k == i {
			raw = change(raw)
		}
		stored := z.EncodeAll(raw, nil)
		if len(raw) == 0 {
			stored = nil
		}
		h.sizes[k] = streamSize{int64(len(raw)), int64(len(stored))}
		out.Write(stored)
	}
	return append(h.encode(), out.Bytes()...)
}

func TestVersions(t *testing.T) {
	file, _, _ := small(t)
	b := slices.Clone(file)
	b[len(magic)-1]++
	_, err := Open(bytes.NewReader(b), int64(len(b)))
	require.ErrorIs(t, err, ErrVersion)
	_, err = Open(bytes.NewReader([]byte("something else, and long enough")), 31)
	require.ErrorIs(t, err, ErrDamaged)
	d, err := Open(bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	h := d.Header
	h.Predictor = 250
	start := h.encode()
	_, err = Open(bytes.NewReader(start), int64(len(start)))
	require.ErrorIs(t, err, ErrVersion)
}

func FuzzApply(f *testing.F) {
	file, old, target := small(f)
	f.Add(file)
	f.Fuzz(func(t *testing.T, file []byte) { applyHostile(t, file, old, target) })
}

// FuzzStreams fuzzes what is behind checksum and compression.
func FuzzStreams(f *testing.F) {
	file, old, target := small(f)
	d, err := Open(bytes.NewReader(file), int64(len(file)))
	require.NoError(f, err)
	for i := range numStreams {
		s, err := d.open(i)
		require.NoError(f, err)
		raw := make([]byte, s.left)
		require.NoError(f, s.read(raw))
		f.Add(uint8(i), raw)
	}
	f.Fuzz(func(t *testing.T, i uint8, raw []byte) {
		applyHostile(t, mutateStream(t, d, int(i)%numStreams, func([]byte) []byte { return raw }), old, target)
	})
}

func FuzzMake(f *testing.F) {
	_, old, target := small(f)
	f.Add(old, target)
	f.Add([]byte("old"), []byte{0x1f, 0x8b, 8})
	f.Fuzz(func(t *testing.T, old, target []byte) { roundTrip(t, target, old) })
}
