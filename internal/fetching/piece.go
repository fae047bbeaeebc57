package fetching

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/dockerarchive/dockerarchive/progress"
)

// piece is one range of a blob. The worker that fills it owns it until ready is set.
type piece struct {
	offset   int64
	want     int
	buffer   []byte
	n        int  // bytes that have come
	read     int  // bytes of them that have been returned
	ready    bool // all have come
	reserved bool // buffer is the reserve
}

func (p *piece) end() int64 { return p.offset + int64(p.want) }

// fetch fills pieces that follow each other. After an error that may pass it goes on
// where it was: at once if that was worthwhile, for a server that breaks off now and then
// gives most over a new connection. It returns false if it failed. It may call ending, at the
// time when a new request would be answered just as the last byte arrives.
func (g *ranges) fetch(run []*piece, ending func()) bool {
	defer func() { // Pieces that were claimed and are not ready have no owner any more.
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, p := range run {
			if !p.ready {
				g.release(p)
			}
		}
	}()
	backoff := g.f.options.Backoff()
	for i := 0; ; {
		before := reached(run, i)
		err := g.read(g.ctx, run, &i, func() {}, ending)
		if err == nil {
			return true
		}
		if g.ctx.Err() != nil {
			g.fail(context.Cause(g.ctx))
			return false
		}
		if g.f.options.Busy(err) {
			g.f.lines.fewer()
		}
		offset := reached(run, i)
		announce := func(err error) {
			g.f.options.Progress(progress.Event{Kind: progress.Retried, Blob: g.blob.Digest, Size: g.blob.Size, Err: err, Offset: offset})
		}
		if offset-before >= int64(g.f.options.RangeSize/worthwhile) {
			backoff = g.f.options.Backoff()
			if backoff.MayPass(err) {
				announce(err)
				continue
			}
		}
		if next := backoff.Next(g.ctx, err, announce); next != nil {
			g.host.end()
			g.fail(next)
			return false
		}
	}
}

// reached returns where what is in pieces up to the i-th ends.
func reached(run []*piece, i int) int64 { return run[i].offset + int64(run[i].n) }

// read reads what pieces from the i-th on lack, and counts i up. It calls begun when the
// first byte is there, and ending as fetch does.
func (g *ranges) read(ctx context.Context, run []*piece, i *int, begun, ending func()) error {
	last := run[len(run)-1]
	offset := reached(run, *i)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := time.Now()
	late := time.Duration(0) // how long the answer took to begin
	body, err := g.source.OpenRange(ctx, g.blob, offset, last.end()-offset)
	if err != nil {
		return err
	}
	defer body.Close()
	defer cancel() // So that it closes without reading on.
	for ; *i < len(run); *i++ {
		p := run[*i]
		if !g.provide(p) {
			return context.Canceled
		}
		if late == 0 {
			n, err := io.ReadAtLeast(body, p.buffer[p.n:p.want], 1)
			p.n += n
			if err != nil {
				return g.cut(p, err)
			}
			begun()
			late = max(time.Since(asked), 1)
			g.host.began(late, g.late)
		}
		if p == last {
			err = p.readLast(body, late, ending)
		} else {
			err = p.readTo(body, p.want)
		}
		if err != nil {
			return g.cut(p, err)
		}
		if p == last { // Up to its end, so that the connection can be used again.
			if n, _ := body.Read(make([]byte, 1)); n > 0 {
				return fmt.Errorf("%w: more came than was asked for", ErrNoRanges)
			}
		}
		g.deliver(p)
	}
	return nil
}

// readTo reads until the piece has n bytes.
func (p *piece) readTo(body io.Reader, n int) error {
	n, err := io.ReadFull(body, p.buffer[p.n:max(p.n, n)])
	p.n += n
	return err
}

// readLast reads the last piece of an answer. It calls ending before the end, as long as the answer
// took to begin; the rate of the piece's first quarter tells when that is.
func (p *piece) readLast(body io.Reader, late time.Duration, ending func()) error {
	start, before := time.Now(), p.n
	if err := p.readTo(body, p.n+(p.want-p.n)/4); err != nil {
		return err
	}
	left := p.want - p.n
	if took := time.Since(start); took > 0 {
		left = min(left, int(float64(p.n-before)*late.Seconds()/took.Seconds()))
	}
	if err := p.readTo(body, p.want-left); err != nil {
		return err
	}
	ending()
	return p.readTo(body, p.want)
}

// cut returns the error for a piece that gets no more data.
func (g *ranges) cut(p *piece, err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("at %d of %d: %w", p.offset+int64(p.n), g.blob.Size, err)
}

// provide gets a piece its buffer. One is free soon: the pieces before it are on their
// way, or have come.
func (g *ranges) provide(p *piece) bool {
	if p.buffer != nil {
		return true
	}
	if p.buffer = g.f.buffers.tryGet(); p.buffer != nil {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.lent {
		if g.err != nil {
			return false
		}
		g.changed.Wait()
	}
	if g.reserve == nil {
		g.reserve = make([]byte, g.f.options.RangeSize)
	}
	p.buffer, p.reserved, g.lent = g.reserve, true, true
	return true
}

func (g *ranges) deliver(p *piece) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return // fetch releases it.
	}
	p.ready = true
	g.changed.Broadcast()
}

// release gives a piece's buffer back.
func (g *ranges) release(p *piece) {
	if p.reserved {
		p.reserved, g.lent = false, false
		g.changed.Broadcast()
	} else if p.buffer != nil {
		g.f.buffers.put(p.buffer)
	}
	p.buffer = nil
}
