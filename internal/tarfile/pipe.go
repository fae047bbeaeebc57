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
// not be concurrent. A pipe that has been written to must be interrupted in the end.
type pipe struct {
	w    io.Writer
	buf  []byte       // bytes being written; an abandoned write keeps it
	n    atomic.Int64 // bytes that have been written
	work chan placed  // to the goroutine that writes; nil before there is one
	done chan error   // how that ended

	once sync.Once
	quit chan struct{} // closed when nothing may be written any more
	err  error         // why; set before quit is closed
}

// placed is data to write, which may also be at a place.
type placed struct {
	data []byte
	at   place
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
	if len(data) == 0 {
		return nil
	}
	if p.work == nil {
		p.work, p.done = make(chan placed), make(chan error, 1)
		go p.run()
	}
	select {
	case <-p.quit: // An abandoned write may still read p.buf.
		return p.err
	default:
	}
	p.buf = append(p.buf[:0], data...)
	select {
	case p.work <- placed{p.buf, at}: // At once: the last write has ended.
	case <-p.quit:
		return p.err
	}
	select {
	case err := <-p.done:
		return p.wrote(err)
	case <-p.quit:
		return p.err
	case <-ctx.Done():
	}
	select {
	case err := <-p.done: // It was just in time.
		return p.wrote(err)
	default:
		p.interrupt(context.Cause(ctx))
		return p.err
	}
}

// wrote counts the bytes of a write that has ended.
func (p *pipe) wrote(err error) error {
	p.n.Add(int64(len(p.buf)))
	return err
}

// run writes what comes until the pipe is interrupted.
func (p *pipe) run() {
	for {
		select {
		case next := <-p.work:
			p.done <- p.writeNow(next)
		case <-p.quit:
			return
		}
	}
}

func (p *pipe) writeNow(next placed) (err error) {
	if c, ok := p.w.(Copier); ok && next.at.file != nil {
		_, err = c.WriteFrom(next.data, next.at.file, next.at.off)
	} else {
		_, err = p.w.Write(next.data)
	}
	return err
}
