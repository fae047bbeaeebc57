package delta

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wrongTokens returns how many tokens of a gzip file a model predicts wrongly.
func wrongTokens(t testing.TB, p Predictor, gz, text []byte) (wrong, all int64) {
	t.Helper()
	start, err := p.start(nil, nil)
	require.NoError(t, err)
	c := &sampler{prediction: newPrediction(bytes.NewReader(text), start)}
	if err := readTokens(bytes.NewReader(gz), c.block); err != errSampled {
		require.NoError(t, err)
	}
	return c.wrong, c.all
}

// modelTexts have what encoders treat in a special way: runs, matches at the far
// end of the window, matches of three bytes far away, the end.
func modelTexts(r *rand.Rand) map[string][]byte {
	far := someText(r, 1<<16)
	return map[string][]byte{
		"empty": nil, "byte": []byte("x"), "three": []byte("xxx"), "run": bytes.Repeat([]byte{0}, 100000),
		"short": []byte(strings.Repeat("abcabd", 50)), "text": someText(r, 2500000),
		"far": append(append(far, far[:40000]...), far[20000:]...),
		"noise": func() []byte {
			b := make([]byte, 300000)
			for i := range b {
				b[i] = "abcdefgh"[r.IntN(8)]
			}
			return b
		}(),
	}
}

func TestModelOfGo(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	for name, text := range modelTexts(r) {
		var buf bytes.Buffer
		w, err := gzip.NewWriterLevel(&buf, gzip.DefaultCompression)
		require.NoError(t, err)
		for p := text; len(p) > 0; p = p[min(len(p), 32<<10):] {
			_, err = w.Write(p[:min(len(p), 32<<10)])
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		wrong, _ := wrongTokens(t, Go6, buf.Bytes(), text)
		assert.Zero(t, wrong, name)
	}
}

func TestModelOfZlib(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for name, text := range modelTexts(r) {
		for level, p := range map[int]Predictor{6: Zlib6, 9: Zlib9} {
			cmd := exec.Command("gzip", fmt.Sprintf("-n%d", level))
			cmd.Stdin = bytes.NewReader(text)
			gz, err := cmd.Output()
			require.NoError(t, err)
			wrong, _ := wrongTokens(t, p, gz, text)
			// gzip, unlike zlib, compares the last match with what is behind the end.
			assert.LessOrEqual(t, wrong, int64(1), "%s at %d", name, level)
		}
	}
}
