package async

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func random(n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestCopies(t *testing.T) {
	for _, n := range []int{0, 1, bufferSize - 1, bufferSize, bufferSize + 1, 11*bufferSize + 17} {
		want := random(n)
		r := NewReader(context.Background(), iotest.HalfReader(bytes.NewReader(want)))
		prefix, err := r.Peek(6)
		require.NoError(t, err)
		assert.Equal(t, want[:min(6, n)], prefix)
		var got bytes.Buffer
		w := NewWriter(&got)
		_, err = io.CopyBuffer(w, struct{ io.Reader }{r}, make([]byte, 1000))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		r.Close()
		assert.True(t, bytes.Equal(want, got.Bytes()), n)

		r = NewReader(context.Background(), bytes.NewReader(want))
		got.Reset()
		copied, err := r.WriteTo(&got)
		require.NoError(t, err)
		assert.EqualValues(t, n, copied)
		assert.True(t, bytes.Equal(want, got.Bytes()), n)
		r.Close()
	}
}

var errSource = errors.New("source failed")

// What was read before an error is delivered, then the error.
func TestSourceError(t *testing.T) {
	want := random(bufferSize + 100)
	r := NewReader(context.Background(), io.MultiReader(bytes.NewReader(want), iotest.ErrReader(errSource)))
	defer r.Close()
	got, err := io.ReadAll(r)
	require.ErrorIs(t, err, errSource)
	assert.Equal(t, want, got)
}

// A source that hangs does not keep a cancelled reader.
func TestCancel(t *testing.T) {
	pr, pw := io.Pipe()
	ctx, cancel := context.WithCancelCause(context.Background())
	r := NewReader(ctx, pr)
	waits := make(chan bool, 2)
	r.OnWait(func(w bool) { waits <- w })
	done := make(chan error)
	go func() {
		_, err := r.Read(make([]byte, 1))
		done <- err
	}()
	require.True(t, <-waits)
	cancel(errSource)
	require.ErrorIs(t, <-done, errSource)
	require.False(t, <-waits)
	r.Close()
	pw.Close()
}

// trickle gives one byte whenever it is told to.
type trickle struct {
	more  <-chan struct{}
	reads atomic.Int32
}

func (r *trickle) Read(p []byte) (int, error) {
	<-r.more
	r.reads.Add(1)
	return copy(p, "x"), nil
}

// A source that gives little at a time is not read on after Close to fill a
// buffer that nobody wants.
func TestCloseWhileTrickling(t *testing.T) {
	more := make(chan struct{}, 100)
	source := &trickle{more: more}
	r := NewReader(context.Background(), source)
	more <- struct{}{}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		r.Close()
	}()
	<-r.stop
	for range cap(more) {
		more <- struct{}{}
	}
	<-closed
	<-r.stopped
	assert.LessOrEqual(t, source.reads.Load(), int32(2), "the read that was under way is the last one")
}

func TestCloseEarly(t *testing.T) {
	r := NewReader(context.Background(), bytes.NewReader(random(20*bufferSize)))
	_, err := r.Read(make([]byte, 10))
	require.NoError(t, err)
	r.Close()
	_, err = r.Read(make([]byte, 10))
	require.Error(t, err)
}

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
