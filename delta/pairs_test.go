package delta

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"

	kgzip "github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/raced"
)

// rounds returns how often to repeat a test that finds more the longer it runs: all times by make
// exact, which takes hours.
func rounds(t testing.TB, some, all int) int {
	t.Helper()
	if os.Getenv("DOCKERARCHIVE_TEST_EXACT") != "" {
		return all
	}
	if raced.Enabled { // make test-long does not.
		some = max(some/10, 1)
	}
	t.Logf("%d of %d rounds; make exact runs all", some, all)
	return some
}

// compressors are all kinds of blobs that a layer may be. "unknown" is one of an encoder without a
// model; the last three are programs, igzip and pigz where they are installed.
var compressors = []string{"plain", "go", "klauspost", "pgzip", "unknown", "members", "tail", "broken", "zstd", "gzip", "igzip", "pigz"}

// compress returns text as one of compressors leaves it at a level of -2 to 9, if it has that.
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
	case "unknown":
		w, err = kgzip.NewWriterLevel(&buf, 3)
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
		w, err = zstd.NewWriter(&buf, zstd.WithEncoderLevel(zstd.EncoderLevel(1+(level+2)%4)))
	case "gzip", "igzip", "pigz":
		return program(t, kind, level, text)
	}
	require.NoError(t, err)
	_, err = w.Write(text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.Bytes()
}

// program compresses by a program, or by gzip if that is missing.
func program(t testing.TB, name string, level int, text []byte) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		name = "gzip"
	}
	if name == "igzip" {
		level %= 4
	}
	cmd := exec.CommandContext(t.Context(), name, "-c", "-n", fmt.Sprintf("-%d", max(1, level)))
	cmd.Stdin = bytes.NewReader(text)
	packed, err := cmd.Output()
	require.NoError(t, err)
	return packed
}

// sizeOfPair returns how large the n-th of pairs may be, in bytes: 1 MiB; in long campaigns 8 MiB,
// and 50 MB now and then.
func sizeOfPair(r *rand.Rand, n, pairs int) int {
	switch {
	case pairs < 100:
		return r.IntN(1 << (8 + r.IntN(13)))
	case n%200 == 0:
		return r.IntN(50_000_000)
	default:
		return r.IntN(1 << (8 + r.IntN(16)))
	}
}

// Random pairs of blobs of every kind and level are rebuilt to the byte. Each subtest has a hundred
// of them: -run RandomPairs/0300.
func TestRandomPairs(t *testing.T) {
	pairs := rounds(t, 30, 2000)
	for first := 0; first < pairs; first += 100 {
		t.Run(fmt.Sprintf("%04d", first), func(t *testing.T) {
			made, end := 0, min(first+100, pairs)
			for seed := first; seed < end; seed++ {
				if randomPair(t, seed, pairs) {
					made++
				}
			}
			assert.Greater(t, made, (end-first)/4)
			t.Logf("%d pairs, %d deltas", end-first, made)
		})
	}
}

// randomPair makes and applies a delta, and reports whether there is one.
func randomPair(t *testing.T, seed, pairs int) bool {
	r := rand.New(rand.NewPCG(uint64(seed), 7))
	old := someText(r, sizeOfPair(r, seed, pairs))
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
	h, _ := roundTrip(t, compress(t, kind, level, text), bases...)
	return h != nil
}

// Every kind at every level, from a base that is compressed so and from one that is not.
func TestEveryLevel(t *testing.T) {
	for _, kind := range compressors[:raced.Rounds(t, 3, len(compressors))] {
		for level := -2; level <= 9; level += 11 / raced.Rounds(t, 1, 11) {
			r := rand.New(rand.NewPCG(uint64(level+2), 8))
			old := someText(r, 50_000)
			text := slices.Insert(slices.Clone(old), 25_000, []byte("something that is new")...)
			target := compress(t, kind, level, text)
			for _, base := range [][]byte{old, compress(t, kind, level, old)} {
				roundTrip(t, target, base)
			}
		}
	}
}
