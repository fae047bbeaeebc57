package deflate

import (
	"bytes"
	stdflate "compress/flate"
	stdgzip "compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	kgzip "github.com/klauspost/compress/gzip"
	"github.com/klauspost/pgzip"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/raced"
)

// someText returns text that compresses as files do: words, repeats, noise.
func someText(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	out := make([]byte, 0, size+1000)
	for len(out) < size {
		switch k := r.IntN(20); {
		case k == 0:
			for range r.IntN(2000) {
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

// rebuild takes a gzip file apart and puts it together. With predict, each header
// is also derived from its own lengths.
func rebuild(gz []byte) (out, text []byte, err error) {
	r := NewReader(bytes.NewReader(gz))
	var buf bytes.Buffer
	w := NewWriter(&buf)
	for {
		header, ok, err := r.Member()
		if err != nil {
			return nil, nil, err
		}
		if err := w.Bytes(header); err != nil {
			return nil, nil, err
		}
		if !ok {
			break
		}
		for final := false; !final; {
			b, err := r.Block()
			if err != nil {
				return nil, nil, err
			}
			final = b.Final
			if err := w.Block(b); err != nil {
				return nil, nil, err
			}
			for done := false; !done; {
				var tokens []Token
				var t []byte
				if tokens, t, done, err = r.Read(); err != nil {
					return nil, nil, err
				}
				text = append(text, t...)
				if b.Type == Stored {
					err = w.Bytes(t)
				} else {
					err = w.Tokens(tokens)
				}
				if err != nil {
					return nil, nil, err
				}
			}
			if b.Type != Stored {
				w.EndBlock()
			}
		}
		end, err := r.End()
		if err != nil {
			return nil, nil, err
		}
		w.Align(end.Pad)
		w.Bytes(end.Bytes[:])
	}
	for p := make([]byte, 100); ; {
		n, err := r.Rest(p)
		w.Bytes(p[:n])
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, nil, err
		}
	}
	err = w.Close()
	return buf.Bytes(), text, err
}

func compress(t testing.TB, text []byte, level int, kind string) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser
	var err error
	switch kind {
	case "go":
		w, err = stdgzip.NewWriterLevel(&buf, level)
	case "klauspost":
		w, err = kgzip.NewWriterLevel(&buf, level)
	case "pgzip":
		w, err = pgzip.NewWriterLevel(&buf, level)
	}
	require.NoError(t, err)
	_, err = w.Write(text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.Bytes()
}

func TestRebuild(t *testing.T) {
	sizes := []int{0, 1, 5, 1000, 70000, 1<<20 + 5, 3 << 20}
	sizes = sizes[:raced.Rounds(t, 5, len(sizes))]
	for _, kind := range []string{"go", "klauspost", "pgzip"} {
		for level := -2; level <= 9; level++ {
			for _, size := range sizes {
				text := someText(uint64(level+10), size)
				gz := compress(t, text, level, kind)
				out, got, err := rebuild(gz)
				require.NoError(t, err, "%s %d %d", kind, level, size)
				require.True(t, bytes.Equal(text, got))
				require.True(t, bytes.Equal(gz, out))
			}
		}
	}
}

func TestMembersAndTails(t *testing.T) {
	gz := compress(t, someText(1, 5000), 6, "go")
	var named bytes.Buffer
	w, err := stdgzip.NewWriterLevel(&named, stdflate.BestCompression)
	require.NoError(t, err)
	w.Name, w.Comment, w.Extra, w.OS = "name", "comment", []byte("extra"), 3
	_, err = w.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	wrong := slices.Clone(gz)
	wrong[len(wrong)-1] ^= 1 // the length in the trailer
	for name, file := range map[string][]byte{
		"several":      slices.Concat(gz, named.Bytes(), gz),
		"zeros":        append(slices.Clone(gz), make([]byte, 1000)...),
		"garbage":      append(slices.Clone(gz), "\x1f\x8b\x08\x00garbage that is long enough"...),
		"short tail":   append(slices.Clone(gz), 0x1f),
		"wrong length": wrong,
	} {
		out, _, err := rebuild(file)
		if name == "garbage" { // a member header, and then no deflate stream
			require.ErrorIs(t, err, ErrFormat)
			continue
		}
		require.NoError(t, err, name)
		assert.Equal(t, file, out, name)
	}
}

func TestTruncated(t *testing.T) {
	gz := compress(t, someText(2, 20000), 6, "go")
	for n := 11; n < len(gz); n += 7 {
		_, _, err := rebuild(gz[:n])
		require.ErrorIs(t, err, ErrFormat, "%d", n)
	}
	fault := errors.New("fault")
	r := NewReader(io.MultiReader(bytes.NewReader(gz[:500]), iotest.ErrReader(fault)))
	_, _, err := r.Member()
	require.NoError(t, err)
	_, err = r.Block()
	require.NoError(t, err)
	for done := false; err == nil && !done; {
		_, _, done, err = r.Read()
	}
	require.ErrorIs(t, err, fault)
}

// Headers of Go's encoder follow from their tokens.
func TestPredictedTrees(t *testing.T) {
	r := NewReader(bytes.NewReader(compress(t, someText(3, 4<<20), -1, "go")))
	_, _, err := r.Member()
	require.NoError(t, err)
	blocks := 0
	for final := false; !final; {
		b, err := r.Block()
		require.NoError(t, err)
		final = b.Final
		var c Counts
		for done := false; !done; {
			var tokens []Token
			tokens, _, done, err = r.Read()
			require.NoError(t, err)
			c.Add(tokens)
		}
		if b.Type == Dynamic {
			blocks++
			var p Trees
			p.PredictLengths(&c)
			assert.Equal(t, b.Trees.Lits, p.Lits)
			assert.Equal(t, b.Trees.Dists, p.Dists)
			p.Spell(true)
			assert.Equal(t, b.Trees.Runs, p.Runs)
			p.PredictCode()
			assert.Equal(t, b.Trees.Code, p.Code)
			assert.Equal(t, b.Trees.Listed, p.Listed)
		}
	}
	assert.Greater(t, blocks, 3)
}

func TestOptimalLengths(t *testing.T) {
	assert.Equal(t, []uint8{0, 1, 0}, optimalLengths([]uint32{0, 7, 0}, 15, nil))
	assert.Equal(t, []uint8{2, 2, 1}, optimalLengths([]uint32{1, 1, 1}, 15, nil))
	assert.Equal(t, []uint8{3, 3, 2, 1}, optimalLengths([]uint32{1, 1, 2, 4}, 15, nil))
	assert.Equal(t, []uint8{2, 2, 2, 2}, optimalLengths([]uint32{1, 1, 2, 4}, 2, nil))
	counts := make([]uint32, numLits) // needs more than 15 bits without a limit
	a, b := uint32(1), uint32(1)
	for i := range counts[:24] {
		counts[i] = a
		a, b = b, a+b
	}
	lens := optimalLengths(counts, maxBits, nil)
	require.True(t, validCode(lens))
	assert.Equal(t, uint8(15), slices.Max(lens))
}

func TestSymbols(t *testing.T) {
	for n := MinMatch; n <= MaxMatch; n++ {
		s := lengths[lengthOf(n)]
		assert.True(t, int(s.base) <= n && n < int(s.base)+1<<s.extra, n)
	}
	for d := 1; d <= MaxDist; d++ {
		s := distances[distOf(d)]
		if int(s.base) > d || d >= int(s.base)+1<<s.extra {
			t.Fatal(d)
		}
	}
}

func FuzzRebuild(f *testing.F) {
	f.Add(compress(f, someText(4, 3000), 6, "go"))
	f.Add(compress(f, someText(4, 300), -2, "klauspost"))
	f.Add(compress(f, []byte(strings.Repeat("a", 1000)), 9, "go"))
	f.Fuzz(func(t *testing.T, gz []byte) {
		out, _, err := rebuild(gz)
		if err == nil && !bytes.Equal(gz, out) {
			t.Fatal("another file")
		}
	})
}

func BenchmarkRead(b *testing.B) {
	text := someText(5, 8<<20)
	gz := compress(b, text, 6, "go")
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		_, _, err := rebuild(gz)
		require.NoError(b, err)
	}
}
