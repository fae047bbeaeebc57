// Package async runs the two ends of a stream's processing, reading and writing,
// on goroutines of their own, so that they overlap with what happens between.
// It knows nothing of the data.
package async

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

const (
	// bufferSize is large enough that handing a buffer over costs nothing, and
	// small enough that the data is still in the processor's cache then.
	bufferSize = 128 << 10
	// depth is how many buffers may be full at a time, for each Reader and Writer.
	depth = 4
	// connectionSize is the size of the buffers for a Connection. A fast connection has that
	// many bytes ready. To read 128 KiB at a time wakes the sender more often, which costs a
	// quarter more of the processor's time.
	connectionSize = 256 << 10
	// connectionDepth is how many of these may be full, and followedDepth how many buffers may
	// wait for what follows reading, such as hashing. If none may, each step waits for the one
	// beside it at every buffer, and for its goroutine to be woken: that is a tenth of the time
	// of a blob on a fast connection.
	connectionDepth = 1
	followedDepth   = 2
	// stageDepth is how many buffers may be full between two writers of a Writer.
	stageDepth = 2
	// grace is how long Close waits for a useless read to return. Readers that respect the
	// same context return at once; one that hangs must not hang us.
	grace = time.Second
	// maxEmptyReads is how often a reader may return neither data nor an error in a
	// row, as in package bufio.
	maxEmptyReads = 100
)

var (
	pool           = sync.Pool{New: func() any { return buffer(make([]byte, bufferSize)) }}
	connectionPool = sync.Pool{New: func() any { return buffer(make([]byte, connectionSize)) }}
)

// buffer returns a buffer in a form that a pool holds without an allocation.
func buffer(b []byte) *[]byte { return &b }

// Connection is a source that may hold much ready at a time, because it comes over a network.
type Connection interface {
	io.Reader
	IsConnection() bool
}

// Followed is a source with more to do than reading, such as hashing, which may be done while
// it reads on.
type Followed interface {
	io.Reader
	// Follow has Read leave that to the function that it returns. The caller passes it all
	// that Read returns, in that order, and takes its error instead of Read's. Follow returns
	// nil if it does not pay; then Read does all.
	Follow() func(p []byte, err error) error
}

// chunk is what one turn of reading gave.
type chunk struct {
	buf *[]byte
	n   int
	err error // io.EOF at the end
}

// Reader reads ahead from another reader. Its methods must not be called
// concurrently.
type Reader struct {
	ctx      context.Context
	pool     *sync.Pool
	onWait   func(bool)
	full     chan chunk
	stop     chan struct{}
	stopOnce sync.Once
	stopped  chan struct{}
	closeErr error // of the underlying reader; set before stopped is closed
	current  chunk
	off      int   // of what is not consumed yet in current
	err      error // to be returned from now on
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
		pool:    &pool,
		full:    make(chan chunk, depth),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	if c, ok := r.(Connection); ok && c.IsConnection() {
		a.pool, a.full = &connectionPool, make(chan chunk, connectionDepth)
	}
	out, followed := a.full, func() {}
	if f, ok := r.(Followed); ok {
		if follow := f.Follow(); follow != nil {
			out, followed = a.follow(follow)
		}
	}
	go func() {
		defer close(a.stopped)
		a.run(r, out)
		followed()
		if closer != nil {
			a.closeErr = closer.Close()
		}
	}()
	return a
}

// run reads into out until the end, an error, Close or the end of the context.
func (a *Reader) run(r io.Reader, out chan<- chunk) {
	for {
		c := chunk{buf: a.pool.Get().(*[]byte)}
		if !a.read(r, &c) {
			a.pool.Put(c.buf)
			return
		}
		if !a.hand(c, out) || c.err != nil {
			return
		}
	}
}

// follow starts a goroutine that calls f for chunks on their way to the reader. It returns
// the channel for them, and a function that ends that and waits.
func (a *Reader) follow(f func([]byte, error) error) (in chan chunk, wait func()) {
	in = make(chan chunk, followedDepth)
	var followed sync.WaitGroup
	followed.Go(func() {
		for c := range in {
			c.err = f((*c.buf)[:c.n], c.err)
			a.hand(c, a.full) // If nobody wants it, reading ends too.
		}
	})
	return in, func() {
		close(in)
		followed.Wait()
	}
}

// hand hands a chunk on, and reports whether anybody wanted it still.
func (a *Reader) hand(c chunk, out chan<- chunk) bool {
	select {
	case out <- c:
		return true
	case <-a.stop:
	case <-a.ctx.Done():
	}
	a.pool.Put(c.buf)
	return false
}

// read fills a chunk, or at least as much of it as is worth to be handed over, and reports
// whether anybody wants it still.
func (a *Reader) read(r io.Reader, c *chunk) bool {
	for empty := 0; c.n < bufferSize && c.err == nil; {
		var n int
		n, c.err = r.Read((*c.buf)[c.n:])
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

// Peek returns the next bytes, up to n but not more than the size of a buffer,
// without consuming them. It returns fewer only at the end of the stream or
// together with an error.
func (a *Reader) Peek(n int) ([]byte, error) {
	err := a.fill()
	if err == io.EOF {
		err = nil
	}
	data := a.data()
	return data[:min(n, len(data))], err
}

func (a *Reader) data() []byte {
	if a.current.buf == nil {
		return nil
	}
	return (*a.current.buf)[a.off:a.current.n]
}

// fill makes sure that there is data, or returns why there is none.
func (a *Reader) fill() error {
	for len(a.data()) == 0 {
		if a.err != nil {
			return a.err
		}
		a.release()
		if err := a.next(); err != nil {
			a.err = err
			return err
		}
		a.err = a.current.err
	}
	return nil
}

func (a *Reader) next() error {
	select {
	case a.current = <-a.full:
		return context.Cause(a.ctx)
	default:
	}
	if a.onWait != nil {
		a.onWait(true)
		defer a.onWait(false)
	}
	select {
	case a.current = <-a.full:
		return context.Cause(a.ctx)
	case <-a.ctx.Done():
		return context.Cause(a.ctx)
	}
}

func (a *Reader) release() {
	if a.current.buf != nil {
		a.pool.Put(a.current.buf)
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
	n := copy(p, a.data())
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
		n, err := w.Write(a.data())
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
	for {
		select {
		case c := <-a.full:
			a.pool.Put(c.buf)
		default:
			return a.closeErr
		}
	}
}

// Writer writes behind to other writers. Its methods must not be called
// concurrently.
type Writer struct {
	full    chan chunk
	stages  sync.WaitGroup
	current chunk

	mu  sync.Mutex
	err error
}

// NewWriter returns a Writer that writes all to the first writer, then to the next. Each has
// a goroutine of its own, so that hashing and writing overlap. After an error nothing is
// written any more. The caller must close the Writer.
func NewWriter(first io.Writer, others ...io.Writer) *Writer {
	a := &Writer{full: make(chan chunk, depth)}
	in := a.full
	for _, next := range others {
		in, first = a.stage(first, in), next
	}
	a.stages.Go(func() { a.run(first, in, nil) })
	return a
}

// stage has w write chunks, and returns the channel on which they come on.
func (a *Writer) stage(w io.Writer, in <-chan chunk) (out chan chunk) {
	out = make(chan chunk, stageDepth)
	a.stages.Go(func() { a.run(w, in, out) })
	return out
}

// run writes chunks to w, and hands them on to out, or back to the pool if that is nil.
func (a *Writer) run(w io.Writer, in <-chan chunk, out chan<- chunk) {
	if out != nil {
		defer close(out)
	}
	for c := range in {
		if a.failure() == nil {
			if _, err := w.Write((*c.buf)[:c.n]); err != nil {
				a.fail(err)
			}
		}
		if out != nil && a.failure() == nil {
			out <- c
		} else {
			pool.Put(c.buf)
		}
	}
}

// fail notes the first error.
func (a *Writer) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = err
	}
}

func (a *Writer) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// Write implements io.Writer. The error may be that of an earlier write.
func (a *Writer) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 {
		if err := a.failure(); err != nil {
			return total, err
		}
		if a.current.buf == nil {
			a.current.buf = pool.Get().(*[]byte)
		}
		n := copy((*a.current.buf)[a.current.n:], p)
		a.current.n += n
		total += n
		p = p[n:]
		if a.current.n == bufferSize {
			a.flush()
		}
	}
	return total, nil
}

func (a *Writer) flush() {
	if a.current.n > 0 {
		a.full <- a.current
		a.current = chunk{}
	}
}

// Close writes what is buffered, waits until all is written, and returns the
// first error. It does not close the underlying writer.
func (a *Writer) Close() error {
	a.flush()
	close(a.full)
	a.stages.Wait()
	return a.failure()
}
