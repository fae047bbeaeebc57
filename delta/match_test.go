package delta

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// inTurn returns noise, and the same noise with 8 bytes of each 16 changed.
func inTurn(size int) (old, text []byte) {
	r := rand.New(rand.NewPCG(1, 3))
	old = make([]byte, size)
	for i := range old {
		old[i] = byte(r.Uint32())
	}
	text = bytes.Clone(old)
	for i := range text {
		if i%16 >= 8 {
			text[i] ^= 0x55
		}
	}
	return old, text
}

// asked is a context that ends when it has been asked so many times.
type asked struct {
	context.Context
	times, most int
}

var errEnough = errors.New("enough")

// Err implements context.Context.
func (a *asked) Err() error {
	if a.times++; a.times > a.most {
		return errEnough
	}
	return nil
}

// Copies that get no better end. Without that, this takes minutes.
func TestInTurn(t *testing.T) {
	old, text := inTurn(256 << 10)
	covered := int64(0)
	err := findCopies(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(text), int64(len(text)), func(c span) error {
		covered += c.size
		return nil
	})
	require.NoError(t, err)
	assert.GreaterOrEqual(t, covered, int64(len(text)/4))

	p := &pages{r: bytes.NewReader(old), size: int64(len(old))}
	assert.Equal(t, 8, p.forward(0, text, 8, p.patience(0)))
	assert.Equal(t, windowSize, p.patience(0))
	for range 8 {
		p.forward(0, text, 8, p.patience(0))
	}
	assert.Equal(t, 256, p.patience(0))
}

// The search asks within a window whether it shall end.
func TestSearchEnds(t *testing.T) {
	old, text := inTurn(256 << 10)
	ctx := &asked{Context: context.Background(), most: 20}
	copies := 0
	err := findCopies(ctx, bytes.NewReader(old), int64(len(old)), bytes.NewReader(text), int64(len(text)), func(span) error {
		copies++
		return nil
	})
	require.ErrorIs(t, err, errEnough)
	assert.Less(t, copies, 20*askEvery)
}
