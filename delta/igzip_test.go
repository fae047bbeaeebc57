//go:build !race

package delta

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// igzipped returns text as igzip leaves it, which reads it from a pipe.
func igzipped(t testing.TB, level int, text []byte) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "igzip", "-c", fmt.Sprintf("-%d", level))
	cmd.Stdin = bytes.NewReader(text)
	gz, err := cmd.Output()
	require.NoError(t, err)
	return gz
}

// wrongOfIgzip returns how many tokens of igzip are predicted wrongly. The program takes an address
// of its memory for the hash of one position, so a few tokens may differ from run to run.
func wrongOfIgzip(t testing.TB, level int, p Predictor, text []byte) (wrong int64) {
	t.Helper()
	for range 6 {
		if wrong, _ = wrongTokens(t, p, igzipped(t, level, text), text); wrong == 0 {
			break
		}
	}
	return wrong
}

func needIgzip(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("igzip"); err != nil {
		t.Skip("igzip is not installed; TestModelsAreFrozen has the tokens of one of its files")
	}
}

// Every token is predicted, at the ends of the encoder's buffers and blocks, too. Texts of some
// sizes end there.
func TestModelOfIgzip(t *testing.T) {
	needIgzip(t)
	r := rand.New(rand.NewPCG(11, 11))
	texts := modelTexts(r)
	noise := make([]byte, 900_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	texts["literals"] = append(noise, someText(r, 100_000)...)
	texts["long run"] = append(append(someText(r, 300_000), make([]byte, 3<<20+11)...), someText(r, 300_000)...)
	long := someText(r, 3<<20+1000)
	for _, size := range []int{1 << 20, 2 << 20, 3 << 20} {
		for _, more := range []int{-1, 0, 1, 15, 16, 17, 287, 288, 289, -288, 32768, 33056 - 288, 33056, 33057} {
			if n := size + more; n <= len(long) {
				texts[fmt.Sprint(n)] = long[:n]
			}
		}
	}
	for n := range 40 {
		texts[fmt.Sprint(n)] = long[:n]
		texts[fmt.Sprint("run of ", n)] = make([]byte, n)
	}
	for _, n := range []int{303, 304, 305, 4095, 4096, 4097, 16383, 16384, 16385, 32768, 33056, 65535, 65536, 65537} {
		texts[fmt.Sprint(n)] = long[:n]
	}
	for name, text := range texts {
		for level, p := range map[int]Predictor{2: Igzip2, 1: Igzip1} {
			assert.Zero(t, wrongOfIgzip(t, level, p, text), "%s: %s", p, name)
		}
	}
}

// Random texts of random sizes, with long pieces that do not compress.
func TestModelOfIgzipOnNoise(t *testing.T) {
	needIgzip(t)
	for seed := range rounds(t, 10, 1000) {
		r := rand.New(rand.NewPCG(uint64(seed), 12))
		var text []byte
		for range 1 + r.IntN(6) {
			text = append(text, someText(r, r.IntN(400_000))...)
			noise := make([]byte, r.IntN(1<<(8+r.IntN(12))))
			for i := range noise {
				noise[i] = byte(r.Uint32N(uint32(1 + r.IntN(256))))
			}
			text = append(text, noise...)
			text = append(text, make([]byte, r.IntN(1<<(4+r.IntN(14))))...)
		}
		for level, p := range map[int]Predictor{2: Igzip2, 1: Igzip1} {
			assert.Zero(t, wrongOfIgzip(t, level, p, text), "%s: %d", p, seed)
		}
	}
}

// Layers of igzip at every level are made again to the byte, with a model or without.
func TestPairsOfIgzip(t *testing.T) {
	needIgzip(t)
	for level := range 4 {
		for seed := range rounds(t, 3, 100) {
			r := rand.New(rand.NewPCG(uint64(seed), 13))
			old := someText(r, r.IntN(1<<21))
			h, _ := roundTrip(t, igzipped(t, level, changed(r, old)), igzipped(t, level, old))
			if h != nil && (level == 1 || level == 2) && h.Target.TextSize > 1<<16 {
				assert.Equal(t, Igzip2+Predictor(2-level), h.Predictor, "-%d: %d", level, seed)
			}
		}
	}
}
