package delta

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// small returns a delta of few bytes that uses everything: all streams and, since
// no model is of its encoder, the tokens of the base.
func small(t testing.TB) (file []byte, old, target []byte) {
	r := rand.New(rand.NewPCG(3, 3))
	text := someText(r, 60000)
	old = compress(t, "unknown", 0, text)
	for range 3 {
		text = changed(r, text)
	}
	half := len(text) / 2
	target = slices.Concat(compress(t, "unknown", 0, text[:half]), compress(t, "go", 2, text[half:]), []byte{0, 0, 0})
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
	for range rounds(t, 150, 10_000) {
		b := slices.Clone(file)
		for range 1 + r.IntN(3) {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
		applyHostile(t, b, old, target)
	}
}

// applyHostile applies arbitrary bytes: it is the target, or an error.
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
	for range rounds(t, 150, 10_000) {
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

// Making a delta that gets too large ends with an error, however much is written at once.
func TestStreamsAreLimited(t *testing.T) {
	const limit = 100_000
	w, err := newStreamWriter(t.TempDir(), limit)
	require.NoError(t, err)
	defer w.Close()
	w.bytes(streamExtra, make([]byte, 3*limit))
	for range limit {
		w.byte(streamKinds, 1)
	}
	require.ErrorIs(t, w.err, ErrNoGain)
	assert.LessOrEqual(t, w.end, int64(limit))
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

// FuzzStreams fuzzes the content behind checksum and compression.
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
