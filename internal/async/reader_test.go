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
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func random(n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestCopies(t *testing.T) {
	for _, n := range []int{0, 1, enough - 1, enough, enough + 1, bufferSize - 1, bufferSize, bufferSize + 1, 11*bufferSize + 17} {
		want := random(n)
		r := NewReader(context.Background(), iotest.HalfReader(bytes.NewReader(want)))
		prefix, err := r.Peek(6)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want[:min(6, n)], prefix), n)
		var got bytes.Buffer
		w := NewWriter(&got)
		_, err = io.CopyBuffer(w, struct{ io.Reader }{r}, make([]byte, 1000))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.NoError(t, r.Close())
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

// followed is a source with more to do than reading.
type followed struct {
	io.Reader
	follow func([]byte, error) error
}

func (f *followed) Follow() func([]byte, error) error { return f.follow }

// The function of Follow sees all data in order, and has the last word on how it ends.
func TestFollowed(t *testing.T) {
	want := random(3*bufferSize + 5)
	errWrong := errors.New("wrong")
	for name, c := range map[string]struct {
		source io.Reader
		says   error // at the end
		seen   error
	}{
		"right":  {bytes.NewReader(want), io.EOF, io.EOF},
		"wrong":  {bytes.NewReader(want), errWrong, io.EOF},
		"broken": {io.MultiReader(bytes.NewReader(want), iotest.ErrReader(io.ErrClosedPipe)), errWrong, io.ErrClosedPipe},
	} {
		var seen bytes.Buffer
		r := NewReader(t.Context(), &followed{c.source, func(p []byte, err error) error {
			seen.Write(p)
			if err != nil {
				assert.Equal(t, c.seen, err, name)
				return c.says
			}
			return nil
		}})
		got, err := io.ReadAll(r)
		if c.says == io.EOF {
			require.NoError(t, err, name)
		} else {
			require.ErrorIs(t, err, c.says, name)
		}
		require.NoError(t, r.Close())
		assert.True(t, bytes.Equal(want, got), name)
		assert.True(t, bytes.Equal(want, seen.Bytes()), name)
	}
	r := NewReader(t.Context(), &followed{bytes.NewReader(want), nil}) // It does not pay.
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	assert.True(t, bytes.Equal(want, got))
	r = NewReader(t.Context(), &followed{bytes.NewReader(want), func(_ []byte, err error) error { return err }})
	_, err = r.Peek(1)
	require.NoError(t, err)
	require.NoError(t, r.Close(), "while more is on its way")

	ctx, cancel := context.WithCancelCause(t.Context())
	r = NewReader(ctx, &followed{bytes.NewReader(want[:5]), func(_ []byte, err error) error {
		<-ctx.Done()
		return err
	}})
	got = make([]byte, 5)
	_, err = io.ReadFull(r, got)
	require.NoError(t, err, "data is there before it is followed")
	assert.Equal(t, want[:5], got)
	cancel(errSource)
	_, err = r.Read(got)
	require.ErrorIs(t, err, errSource, "an end is awaited only as long as the context lives")
	require.NoError(t, r.Close())
}

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

// hanging gives one byte and then nothing before it is told to go on. It notes
// whether it was closed while it was being read.
type hanging struct {
	hangs, goOn chan struct{}
	reading     atomic.Bool
	given       bool
	closed      chan bool // whether it was being read
}

func newHanging() *hanging {
	return &hanging{hangs: make(chan struct{}), goOn: make(chan struct{}), closed: make(chan bool, 10)}
}

func (h *hanging) Read(p []byte) (int, error) {
	h.reading.Store(true)
	defer h.reading.Store(false)
	if !h.given {
		h.given = true
		return copy(p, "x"), nil
	}
	close(h.hangs)
	<-h.goOn
	return 0, errSource
}

func (h *hanging) Close() error {
	h.closed <- h.reading.Load()
	return errSource
}

// The reading goroutine closes the source. A source that hangs is closed when it
// returns, and Close does not wait for that.
func TestCloseWhileSourceHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newHanging()
		r := NewReadCloser(t.Context(), source)
		<-source.hangs
		require.NoError(t, r.Close())
		require.Empty(t, source.closed)
		close(source.goOn)
		require.False(t, <-source.closed)
		<-r.stopped
		require.ErrorIs(t, r.Close(), errSource, "now it is known")
		require.Empty(t, source.closed, "closed once")
	})
}

// A source is closed as soon as it is of no use, and its error is that of Close.
func TestSourceIsClosed(t *testing.T) {
	source := newHanging()
	close(source.goOn)
	r := NewReadCloser(t.Context(), source)
	require.False(t, <-source.closed, "after an error")
	require.ErrorIs(t, r.Close(), errSource)

	ctx, cancel := context.WithCancel(t.Context())
	closing := newHanging()
	r = NewReadCloser(ctx, struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(random(20 * bufferSize)), closing})
	cancel()
	require.False(t, <-closing.closed, "after the context, though nobody reads")
	require.ErrorIs(t, r.Close(), errSource)
}

// empty returns nothing at all, and calls after once it has done so a few times.
type empty struct {
	reads, few int
	after      func()
}

func (e *empty) Read([]byte) (int, error) {
	if e.reads++; e.reads == e.few {
		e.after()
	}
	return 0, nil
}

func TestSourceWithoutProgress(t *testing.T) {
	source := &empty{}
	r := NewReader(t.Context(), source)
	_, err := r.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.ErrNoProgress)
	require.NoError(t, r.Close())
	assert.Equal(t, maxEmptyReads, source.reads)

	ctx, cancel := context.WithCancelCause(t.Context())
	source = &empty{few: 3, after: func() { cancel(errSource) }}
	r = NewReader(ctx, source)
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, errSource)
	require.NoError(t, r.Close())
	assert.Equal(t, 3, source.reads, "the context has ended it")
}

// Data resets the count.
func TestSourceThatIsOftenEmpty(t *testing.T) {
	want := random(50)
	r := NewReader(t.Context(), &lazy{data: want})
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	require.NoError(t, r.Close())
}

// lazy returns a byte every tenth time.
type lazy struct {
	data  []byte
	reads int
}

func (l *lazy) Read(p []byte) (int, error) {
	if l.reads++; l.reads%10 != 0 {
		return 0, nil
	}
	if len(l.data) == 0 {
		return 0, io.EOF
	}
	p[0] = l.data[0]
	l.data = l.data[1:]
	return 1, nil
}

// inTurn gives pieces of these sizes, and then nothing for a while.
type inTurn struct {
	sizes []int
	waits chan struct{}
}

func (r *inTurn) Read(p []byte) (int, error) {
	if len(r.sizes) == 0 {
		<-r.waits
		return 0, io.EOF
	}
	n := r.sizes[0]
	r.sizes = r.sizes[1:]
	return min(n, len(p)), nil
}

// Data is handed over as soon as there is enough of it, though the buffer is not full.
func TestEnoughIsHandedOver(t *testing.T) {
	waits := make(chan struct{})
	r := NewReader(t.Context(), &inTurn{sizes: []int{enough / 2, enough / 2}, waits: waits})
	p := make([]byte, enough)
	_, err := io.ReadFull(r, p)
	require.NoError(t, err, "though the source hangs")
	close(waits)
	require.NoError(t, r.Close())
}
