package async

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

const (
	// readDepth is how many full buffers may wait for the consumer, and as many for what
	// follows reading.
	readDepth = 2
	// grace is how long Close waits for a useless read to return. Readers that respect the
	// same context return at once; one that hangs must not hang us.
	grace = time.Second
	// maxEmptyReads is how often a reader may return neither data nor an error in a
	// row, as in package bufio.
	maxEmptyReads = 100
)

// Followed is a source with more to do than reading, such as hashing, which may be done while
// it reads on and others use the data.
type Followed interface {
	io.Reader
	// Follow has Read leave that to the function that it returns. The caller passes it all
	// that Read returns, in that order, and takes its error instead of one that Read returns.
	// Follow returns nil if it does not pay; then Read does all.
	Follow() func(p []byte, err error) error
}

// chunk is what one turn of reading gave.
type chunk struct {
	*buffer
	n   int
	err error // io.EOF at the end
}

// Reader reads ahead from another reader. Its methods must not be called
// concurrently.
type Reader struct {
	ctx       context.Context
	buffers   *allowance
	onWait    func(bool)
	full      chan chunk
	following chan chunk // nil if nothing follows reading
	verdict   chan error // the error of the end, by what follows
	stop      chan struct{}
	stopOnce  sync.Once
	stopped   chan struct{}
	closeErr  error // of the underlying reader; set before stopped is closed
	current   chunk
	off       int   // where what is left of current begins
	err       error // to be returned from now on
}

// NewReader starts to read r, which it does not close. Reading ends, with the
// context's error, when ctx is done, even if r does not return. The caller must
// close the Reader.
func NewReader(ctx context.Context, r io.Reader) *Reader { return start(ctx, r, nil) }

// NewReadCloser is NewReader for a source that only the Reader uses: the goroutine that reads
// r closes it when it reads no more. That is at its end, at an error, when ctx is done, or
// after Close. If r hangs, it is closed when it returns, which may be long after Close.
func NewReadCloser(ctx context.Context, r io.ReadCloser) *Reader { return start(ctx, r, r) }

func start(ctx context.Context, r io.Reader, closer io.Closer) *Reader {
	a := &Reader{
		ctx:     ctx,
		buffers: newAllowance(lentToReaders),
		full:    make(chan chunk, readDepth),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	followed := func() {}
	if f, ok := r.(Followed); ok {
		if follow := f.Follow(); follow != nil {
			followed = a.follow(follow)
		}
	}
	go func() {
		defer close(a.stopped)
		a.run(r)
		followed()
		select {
		case <-a.stop: // Close may have given up waiting for this.
			a.drain()
		default:
		}
		if closer != nil {
			a.closeErr = closer.Close()
		}
	}()
	return a
}

// follow starts a goroutine that calls f for all chunks. It returns a function that ends that
// and waits.
func (a *Reader) follow(f func([]byte, error) error) (wait func()) {
	a.following, a.verdict = make(chan chunk, readDepth), make(chan error, 1)
	var followed sync.WaitGroup
	followed.Go(func() {
		for c := range a.following {
			err := f(c.data[:c.n], c.err)
			c.release()
			if c.err != nil {
				a.verdict <- err
			}
		}
	})
	return func() {
		close(a.following)
		followed.Wait()
	}
}

// run reads until the end, an error, Close or the end of the context.
func (a *Reader) run(r io.Reader) {
	for {
		c := chunk{buffer: a.buffers.get(a.stop, a.ctx.Done())}
		if c.buffer == nil {
			return
		}
		if !a.read(r, &c) {
			c.release()
			return
		}
		last := c.err != nil
		if a.following != nil {
			c.users.Add(1)
			if !a.hand(c, a.following) {
				c.release()
				return
			}
		}
		if !a.hand(c, a.full) || last {
			return
		}
	}
}

// hand hands a chunk on, and reports whether anybody wanted it still.
func (a *Reader) hand(c chunk, to chan<- chunk) bool {
	select {
	case to <- c:
		return true
	case <-a.stop:
	case <-a.ctx.Done():
	}
	c.release()
	return false
}

// read fills a chunk, or at least as much of it as is worth to be handed over, and reports
// whether anybody wants it still.
func (a *Reader) read(r io.Reader, c *chunk) bool {
	for empty := 0; c.n < enough && c.err == nil; {
		var n int
		n, c.err = r.Read(c.data[c.n:])
		c.n += n
		select {
		case <-a.stop: // Nobody wants what a slow source still has.
			return false
		case <-a.ctx.Done():
			return false
		default:
		}
		if empty++; n > 0 {
			empty = 0
		}
		if empty == maxEmptyReads && c.err == nil {
			c.err = io.ErrNoProgress
		}
	}
	return true
}

// OnWait has f called with true before the Reader waits for its source and with
// false after it.
func (a *Reader) OnWait(f func(waits bool)) { a.onWait = f }

// Peek returns the next bytes, up to n but not more than half the size of a buffer,
// without consuming them. It returns fewer only at the end of the stream or
// together with an error.
func (a *Reader) Peek(n int) ([]byte, error) {
	err := a.fill()
	if err == io.EOF {
		err = nil
	}
	data := a.rest()
	return data[:min(n, len(data))], err
}

// rest returns what is not consumed yet of the current chunk.
func (a *Reader) rest() []byte {
	if a.current.buffer == nil {
		return nil
	}
	return a.current.data[a.off:a.current.n]
}

// fill makes sure that there is data, or returns why there is none.
func (a *Reader) fill() error {
	for len(a.rest()) == 0 {
		if a.err != nil {
			return a.err
		}
		end := a.current.err
		a.release()
		if end == nil {
			a.err = receive(a, a.full, &a.current)
		} else {
			a.err = a.judged(end)
		}
	}
	return nil
}

// judged returns the error of the end, which what follows reading may know better.
func (a *Reader) judged(end error) error {
	if a.following == nil {
		return end
	}
	var verdict error
	if err := receive(a, a.verdict, &verdict); err != nil {
		return err
	}
	return verdict
}

// receive waits for what comes from the source, or for the end of the context.
func receive[T any](a *Reader, from <-chan T, to *T) error {
	select {
	case *to = <-from:
		return context.Cause(a.ctx)
	default:
	}
	if a.onWait != nil {
		a.onWait(true)
		defer a.onWait(false)
	}
	select {
	case *to = <-from:
		return context.Cause(a.ctx)
	case <-a.ctx.Done():
		return context.Cause(a.ctx)
	}
}

func (a *Reader) release() {
	if a.current.buffer != nil {
		a.current.release()
	}
	a.current, a.off = chunk{}, 0
}

// Read implements io.Reader.
func (a *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := a.fill(); err != nil {
		return 0, err
	}
	n := copy(p, a.rest())
	a.off += n
	return n, nil
}

// WriteTo implements io.WriterTo without copying.
func (a *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		err := a.fill()
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(a.rest())
		a.off += n
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

// Close tells the Reader to stop, and returns when it does not use the underlying
// reader any more, with the error of closing that if the Reader did; or after a
// moment, without an error, if it hangs. To close it again does nothing.
func (a *Reader) Close() error {
	a.stopOnce.Do(func() {
		close(a.stop)
		a.release()
		a.err = errors.New("read after close")
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-a.stopped:
		case <-timer.C:
		}
	})
	select {
	case <-a.stopped:
	default:
		return nil
	}
	a.drain()
	return a.closeErr
}

// drain releases what nobody has consumed.
func (a *Reader) drain() {
	for {
		select {
		case c := <-a.full:
			c.release()
		default:
			return
		}
	}
}
