package tarfile

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
)

// Copier is a stream that can copy bytes by itself from some files.
type Copier interface {
	// WriteFrom is Write of bytes that a file has at an offset.
	WriteFrom(p []byte, file io.ReaderAt, off int64) (int, error)
}

// place is where a file has the bytes of a blob; the zero value is nowhere.
type place struct {
	file io.ReaderAt
	off  int64
}

// behind returns the place n bytes further on.
func (p place) behind(n int64) place { return place{p.file, p.off + n} }

// pipe writes to a stream, whose reader may stop reading for as long as it
// likes, so that nobody has to wait for it any longer than wanted. Writes must
// not be concurrent.
type pipe struct {
	w   io.Writer
	buf []byte       // bytes being written; an abandoned write keeps it
	n   atomic.Int64 // bytes that have been written

	once sync.Once
	quit chan struct{} // closed when nothing may be written any more
	err  error         // why; set before quit is closed
}

func newPipe(w io.Writer) *pipe { return &pipe{w: w, quit: make(chan struct{})} }

// interrupt gives up the write that is going on, if any, and all that come
// after it: the archive cannot be completed.
func (p *pipe) interrupt(err error) {
	p.once.Do(func() {
		p.err = err
		close(p.quit)
	})
}

// write writes data, which may also be at a place. If ctx ends meanwhile, the pipe is interrupted.
func (p *pipe) write(ctx context.Context, data []byte, at place) error {
	select {
	case <-p.quit:
		return p.err
	default:
	}
	if len(data) == 0 {
		return nil
	}
	p.buf = append(p.buf[:0], data...)
	done := make(chan error, 1)
	go func(data []byte) {
		done <- p.writeNow(data, at)
	}(p.buf)
	select {
	case err := <-done:
		p.n.Add(int64(len(data)))
		return err
	case <-p.quit:
		return p.err
	case <-ctx.Done():
	}
	select {
	case err := <-done: // It was just in time.
		return err
	default:
		p.interrupt(context.Cause(ctx))
		return p.err
	}
}

func (p *pipe) writeNow(data []byte, at place) (err error) {
	if c, ok := p.w.(Copier); ok && at.file != nil {
		_, err = c.WriteFrom(data, at.file, at.off)
	} else {
		_, err = p.w.Write(data)
	}
	return err
}
