package async

import (
	"io"
	"sync"
)

// writeDepth is how many full buffers may wait before each writer of a Writer: all that it can have.
const writeDepth = ownBuffers + sharedByWriters

// Writer writes behind to other writers. Its methods must not be called
// concurrently.
type Writer struct {
	buffers *allowance
	queues  []chan chunk // before each writer
	stages  sync.WaitGroup
	current chunk

	mu  sync.Mutex
	err error
}

// NewWriter returns a Writer that writes all to the first writer, then to the next. Each has
// a goroutine of its own, so that hashing and writing overlap. After an error nothing is
// written any more. The caller must close the Writer.
func NewWriter(first io.Writer, others ...io.Writer) *Writer {
	a := &Writer{buffers: newAllowance(lentToWriters)}
	writers := append([]io.Writer{first}, others...)
	for range writers {
		a.queues = append(a.queues, make(chan chunk, writeDepth))
	}
	for i, w := range writers {
		var out chan chunk
		if i < len(others) {
			out = a.queues[i+1]
		}
		a.stages.Go(func() { a.run(w, a.queues[i], out) })
	}
	return a
}

// run writes chunks to w, and hands them on to out, or releases them if that is nil.
func (a *Writer) run(w io.Writer, in <-chan chunk, out chan<- chunk) {
	if out != nil {
		defer close(out)
	}
	for c := range in {
		if a.failure() == nil {
			if _, err := w.Write(c.data[:c.n]); err != nil {
				a.fail(err)
			}
		}
		if out != nil && a.failure() == nil {
			out <- c
		} else {
			c.release()
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
		if a.current.buffer == nil {
			a.current.buffer = a.buffers.get(nil, nil)
		}
		n := copy(a.current.data[a.current.n:], p)
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
		a.queues[0] <- a.current
		a.current = chunk{}
	}
}

// Close writes what is buffered, waits until all is written, and returns the
// first error. It does not close the underlying writer.
func (a *Writer) Close() error {
	a.flush()
	close(a.queues[0])
	a.stages.Wait()
	return a.failure()
}
