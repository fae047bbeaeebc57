// Package async runs the two ends of a stream's processing, reading and writing,
// on goroutines of their own, so that they overlap with what happens between.
// It knows nothing of what is processed.
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
	// buffers that may be full at a time, for each Reader and Writer.
	depth = 4
	// grace is how long Close waits for a read to return that nobody needs any
	// more. Readers that respect the same context return at once; one that hangs
	// must not hang us.
	grace = time.Second
)

var pool = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// chunk is what one turn of reading gave.
type chunk struct {
	buf *[bufferSize]byte
	n   int
	err error // io.EOF at the end
}

// Reader reads ahead from another reader. Its methods must not be called
// concurrently.
type Reader struct {
	ctx     context.Context
	onWait  func(bool)
	full    chan chunk
	stop    chan struct{}
	stopped chan struct{}
	current chunk
	off     int   // of what is not consumed yet in current
	err     error // to be returned from now on
}

// NewReader starts to read r. Reading ends, with the context's error, when ctx
// is done, even if r does not return.
func NewReader(ctx context.Context, r io.Reader) *Reader {
	a := &Reader{
		ctx:     ctx,
		full:    make(chan chunk, depth),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	go a.run(r)
	return a
}

func (a *Reader) run(r io.Reader) {
	defer close(a.stopped)
	for {
		c := chunk{buf: pool.Get().(*[bufferSize]byte)}
		for c.n < bufferSize && c.err == nil {
			var n int
			n, c.err = r.Read(c.buf[c.n:])
			c.n += n
			select {
			case <-a.stop: // Nobody wants what a slow source still has.
				pool.Put(c.buf)
				return
			default:
			}
		}
		select {
		case a.full <- c:
			if c.err != nil {
				return
			}
		case <-a.stop:
			pool.Put(c.buf)
			return
		}
	}
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
	return a.current.buf[a.off:a.current.n]
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
		return a.ctx.Err()
	default:
	}
	if a.onWait != nil {
		a.onWait(true)
		defer a.onWait(false)
	}
	select {
	case a.current = <-a.full:
		return a.ctx.Err()
	case <-a.ctx.Done():
		return context.Cause(a.ctx)
	}
}

func (a *Reader) release() {
	if a.current.buf != nil {
		pool.Put(a.current.buf)
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

// Close stops reading ahead. It does not close the underlying reader, and
// returns when that is not in use any more, or after a moment if it hangs.
func (a *Reader) Close() {
	close(a.stop)
	a.release()
	a.err = errors.New("read after close")
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-a.stopped:
	case <-timer.C:
		return
	}
	for {
		select {
		case c := <-a.full:
			pool.Put(c.buf)
		default:
			return
		}
	}
}

// Writer writes behind to another writer. Its methods must not be called
// concurrently.
type Writer struct {
	full    chan chunk
	stopped chan struct{}
	current chunk

	mu  sync.Mutex
	err error
}

// NewWriter returns a Writer that writes to w. The caller must close it.
func NewWriter(w io.Writer) *Writer {
	a := &Writer{full: make(chan chunk, depth), stopped: make(chan struct{})}
	go a.run(w)
	return a
}

func (a *Writer) run(w io.Writer) {
	defer close(a.stopped)
	for c := range a.full {
		if a.failure() == nil {
			if _, err := w.Write(c.buf[:c.n]); err != nil {
				a.mu.Lock()
				a.err = err
				a.mu.Unlock()
			}
		}
		pool.Put(c.buf)
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
			a.current.buf = pool.Get().(*[bufferSize]byte)
		}
		n := copy(a.current.buf[a.current.n:], p)
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
	<-a.stopped
	return a.failure()
}
