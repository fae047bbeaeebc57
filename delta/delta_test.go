package delta

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/raced"
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

// pair returns two layers of a real size, and their texts.
func pair(t testing.TB, kind string) (old, target, oldText, text []byte) {
	r := rand.New(rand.NewPCG(1, 1))
	size := 3 << 20
	if raced.Enabled {
		size = 256 << 10
	}
	oldText = someText(r, size)
	text = oldText
	for range 4 {
		text = changed(r, text)
	}
	return compress(t, kind, -1, oldText), compress(t, kind, -1, text), oldText, text
}

func TestSmall(t *testing.T) {
	kinds := []string{"plain", "pgzip", "unknown", "go", "klauspost"}
	for _, kind := range kinds[:raced.Rounds(t, 2, len(kinds))] {
		old, target, _, _ := pair(t, kind)
		h, file := roundTrip(t, target, old)
		require.NotNil(t, h)
		share := 12
		if raced.Enabled { // pair is smaller then, so constant parts weigh more.
			share = 6
		}
		assert.Less(t, len(file), len(target)/share, kind)
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

// bitString appends bits, the lowest of each byte first.
type bitString struct {
	b []byte
	n uint
}

func (s *bitString) put(v, k uint) {
	for i := range k {
		if s.n%8 == 0 {
			s.b = append(s.b, 0)
		}
		s.b[s.n/8] |= byte(v>>i&1) << (s.n % 8)
		s.n++
	}
}

// A gzip file may spell a match of 258 bytes in two ways; deltas know one. With the
// other, its bytes are its text.
func TestNotDescribed(t *testing.T) {
	var s bitString
	s.put(1|1<<1, 3) // The final block, of fixed codes.
	s.put(0b10001001, 8)
	const matches = 3000
	for range matches {
		s.put(0b00100011, 8) // 284: 227 bytes and
		s.put(31, 5)         // 31 more,
		s.put(0, 5)          // one byte back.
	}
	s.put(0, 7)
	text := bytes.Repeat([]byte{0b10010001 - 0x30}, 1+matches*258)
	target := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}, s.b...)
	target = binary.LittleEndian.AppendUint32(target, crc32.ChecksumIEEE(text))
	target = binary.LittleEndian.AppendUint32(target, uint32(len(text)))
	z, err := gzip.NewReader(bytes.NewReader(target))
	require.NoError(t, err)
	got, err := io.ReadAll(z)
	require.NoError(t, err)
	require.True(t, bytes.Equal(text, got))

	for _, base := range [][]byte{nil, target[:len(target)-100]} {
		h, _ := roundTrip(t, target, base)
		require.NotNil(t, h)
		assert.Equal(t, Plain, h.Target.Form)
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
	old, target, oldText, text := pair(t, "unknown")
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
	require.ErrorIs(t, apply(d, compress(t, "go", 6, make([]byte, raced.Rounds(t, 1, 100)<<20))), ErrWrongBase)

	for name, d := range map[string]*Delta{ // the text of the base will do
		"not compressed": made(t, text, old), "of a known encoder": made(t, compress(t, "go", 6, text), old),
		"from a plain base": made(t, compress(t, "go", 6, text), oldText),
	} {
		require.False(t, d.NeedsCompressedBases(), name)
		for _, kind := range []string{"plain", "unknown", "members", "zstd"} {
			require.NoError(t, apply(d, compress(t, kind, 5, oldText)), "%s, %s", name, kind)
		}
		require.ErrorIs(t, apply(d, text), ErrWrongBase, name)
	}
}

func TestTextOnly(t *testing.T) {
	old, target, oldText, _ := pair(t, "unknown")
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
