//go:build !race

// A model computes in one goroutine: the race detector would take minutes and find nothing.

package delta

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"go/version"
	"math"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/deflate"
)

// wrongTokens returns how many tokens of a gzip file a model predicts wrongly.
func wrongTokens(t testing.TB, p Predictor, gz, text []byte) (wrong, all int64) {
	t.Helper()
	start, err := p.start(nil, nil)
	require.NoError(t, err)
	c := &sampler{prediction: newPrediction(bytes.NewReader(text), start), fewest: math.MaxInt64}
	if _, err := readTokens(bytes.NewReader(gz), c.block); err != errSampled {
		require.NoError(t, err)
	}
	return c.wrong, c.all
}

// modelTexts have the special cases of encoders: runs, matches at the far end of
// the window, matches of three bytes far away, the end.
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

// ofGo returns the model of this Go's compress/flate for that of Go up to 1.26.
func ofGo(p Predictor) Predictor {
	newer := map[Predictor]Predictor{Go6: Go27, Go1: Go27Level1}
	if version.Compare(runtime.Version(), "go1.27") >= 0 {
		return newer[p]
	}
	return p
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
		wrong, _ := wrongTokens(t, ofGo(Go6), buf.Bytes(), text)
		assert.Zero(t, wrong, name)
	}
}

// Encoders that take the text in chunks, or in parts.
func TestModelsOfChunks(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for name, text := range modelTexts(r) {
		for _, c := range []struct {
			kind  string
			level int
			p     Predictor
		}{{"go", 1, ofGo(Go1)}, {"klauspost", 6, Go27}, {"klauspost", -1, Klauspost5}, {"pgzip", -1, Pgzip5}, {"pgzip", 6, Pgzip6}, {"klauspost", 1, Go27Level1}} {
			wrong, _ := wrongTokens(t, c.p, compress(t, c.kind, c.level, text), text)
			assert.Zero(t, wrong, "%s: %s", c.p, name)
		}
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
			// gzip, unlike zlib, compares the last match with bytes behind the
			// end.
			assert.LessOrEqual(t, wrong, int64(1), "%s at %d", name, level)
		}
	}
}

// predictedTokens are the tokens that a predictor gives for a text.
func predictedTokens(t testing.TB, p predictor, text []byte) (tokens []deflate.Token) {
	t.Helper()
	walk := newPrediction(bytes.NewReader(text), p)
	for walk.predicted < int64(len(text)) {
		token, err := walk.peek()
		require.NoError(t, err)
		tokens = append(tokens, token)
		walk.take()
	}
	return tokens
}

// Places in tables are renumbered after half a GiB of text. It changes no prediction.
func TestModelsOfLongTexts(t *testing.T) {
	text := someText(rand.New(rand.NewPCG(10, 10)), 2_500_000)
	for _, p := range models {
		usual, err := p.start(nil, nil)
		require.NoError(t, err)
		renewing, err := p.start(nil, nil)
		require.NoError(t, err)
		const often = 1 << 16
		var numbers *places
		switch m := renewing.(type) {
		case *igzipModel: // Its table has positions modulo 65536.
			continue
		case *chainModel:
			numbers = &m.places
		case *chunkModel:
			switch s := m.search.(type) {
			case *pairSearch:
				numbers = &s.places
			case *fastSearch:
				numbers = &s.places
			case *goFastSearch:
				numbers = &s.places
			}
		}
		require.NotNil(t, numbers, p.String())
		numbers.most = often
		assert.True(t, slices.Equal(predictedTokens(t, usual, text), predictedTokens(t, renewing, text)), p.String())
		assert.NotZero(t, numbers.zero, p.String())
	}
}

// Old deltas depend on the predictions of models.
func TestModelsAreFrozen(t *testing.T) {
	text := someText(rand.New(rand.NewPCG(9, 9)), 1_500_000)
	got := map[string]string{}
	for _, p := range models {
		start, err := p.start(nil, nil)
		require.NoError(t, err)
		sum := sha256.New()
		require.NoError(t, binary.Write(sum, binary.LittleEndian, predictedTokens(t, start, text)))
		got[p.String()] = fmt.Sprintf("%x", sum.Sum(nil)[:8])
	}
	assert.Equal(t, map[string]string{
		"Go -1": "ed48b9c53223ee4c", "Go -6": "aa090082e25b87fc", "Go 1.27 -1": "a16e08745d5a0171", "Go 1.27 -6": "8a1278b812f8e608",
		"igzip -1": "b1f5944b5bec9c17", "igzip -2": "f675c4f62a5258b6",
		"klauspost -5": "07d79ca45426149a", "pgzip -5": "081a083227437943", "pgzip -6": "ea081216cc565217",
		"zlib -6": "5cb87694a7e7cafe", "zlib -9": "dc97992563166237",
	}, got)
}
