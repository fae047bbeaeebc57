package async

import (
	"bytes"
	"io"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type failingWriter struct{ left int }

func (w *failingWriter) Write(p []byte) (int, error) {
	w.left -= len(p)
	if w.left < 0 {
		return 0, errSource
	}
	return len(p), nil
}

func TestWriteError(t *testing.T) {
	w := NewWriter(&failingWriter{left: bufferSize})
	var err error
	for range 100 {
		if _, err = w.Write(make([]byte, bufferSize/2)); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, errSource)
	require.ErrorIs(t, w.Close(), errSource)
}

// Each writer of several gets all, in order, and each chunk after the writer before it.
func TestWritersInTurn(t *testing.T) {
	want := random(20*bufferSize + 7)
	var first, second bytes.Buffer
	var hashed atomic.Int64
	w := NewWriter(writerFunc(func(p []byte) (int, error) {
		hashed.Add(int64(len(p)))
		return first.Write(p)
	}), writerFunc(func(p []byte) (int, error) {
		assert.GreaterOrEqual(t, hashed.Load(), int64(second.Len()+len(p)))
		return second.Write(p)
	}))
	_, err := w.Write(want)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	assert.True(t, bytes.Equal(want, first.Bytes()))
	assert.True(t, bytes.Equal(want, second.Bytes()))
}

// The error of any writer ends writing, and none waits for another then.
func TestWritersFail(t *testing.T) {
	for name, writers := range map[string][2]io.Writer{
		"first":  {&failingWriter{left: bufferSize}, io.Discard},
		"second": {io.Discard, &failingWriter{left: bufferSize}},
		"both":   {&failingWriter{}, &failingWriter{}},
	} {
		w := NewWriter(writers[0], writers[1])
		_, _ = w.Write(make([]byte, 20*bufferSize)) // It may succeed: the error may come later.
		require.ErrorIs(t, w.Close(), errSource, name)
	}
}

// writerFunc is a function that writes.
type writerFunc func(p []byte) (int, error)

// Write implements io.Writer.
func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
