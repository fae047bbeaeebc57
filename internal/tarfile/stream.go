package tarfile

import (
	"context"
	"io"
	"sync"
)

// stream writes to a pipe, whose reader may stop reading for as long as it likes,
// so that nobody has to wait for it any longer than wanted. Writes must not be
// concurrent.
type stream struct {
	w   io.Writer
	buf []byte // what is being written; stays with the write that was given up

	once sync.Once
	quit chan struct{} // closed when nothing may be written any more
	err  error         // why; set before quit is closed
}

func newStream(w io.Writer) *stream { return &stream{w: w, quit: make(chan struct{})} }

// interrupt gives up the write that is going on, if any, and all that come after
// it: what has been sent of the archive cannot be completed.
func (s *stream) interrupt(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.quit)
	})
}

// interruptAfter interrupts the stream when ctx ends before stop is called.
func (s *stream) interruptAfter(ctx context.Context) (stop func() bool) {
	if s == nil { // There is none when writing to a file.
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, func() { s.interrupt(context.Cause(ctx)) })
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	select {
	case <-s.quit:
		return 0, s.err
	default:
	}
	s.buf = append(s.buf[:0], p...)
	done := make(chan error, 1)
	go func(data []byte) {
		_, err := s.w.Write(data)
		done <- err
	}(s.buf)
	select {
	case err := <-done:
		if err != nil {
			return 0, err
		}
		return len(p), nil
	case <-s.quit:
		return 0, s.err
	}
}
