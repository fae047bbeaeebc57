package fetching

import (
	"context"
	"fmt"
	"io"
	"time"
)

// beginning is how often longer than what is late a range may take to begin, and also to come.
const beginning = 3

// piece is one range of a blob. The worker that claimed it owns it until ready is set.
type piece struct {
	offset   int64
	want     int
	probe    bool // it shows what ranges are like here, and has a buffer of its own
	claimed  bool // somebody fetches it, or has
	buffer   []byte
	n        int  // bytes that have come
	read     int  // bytes of them that have been returned
	ready    bool // all have come
	reserved bool // buffer is the reserve
}

func (p *piece) end() int64 { return p.offset + int64(p.want) }

// attempt reads what a piece lacks, in one request. It ends with errSlow when that takes
// longer than all lines together would if they were no faster than one, and with errDear if
// the first range takes long to begin. It may call ending as fetch does.
func (g *ranges) attempt(p *piece, ending func()) error {
	ctx, cancel := context.WithCancelCause(g.ctx)
	defer cancel(nil)
	late, tooLate := beginning*g.late, errSlow
	if p.probe {
		late, tooLate = g.late, errDear
	}
	limit := time.AfterFunc(late, func() { cancel(tooLate) })
	asked := time.Now()
	took := time.Duration(0) // how long the answer took to begin
	begun := func() time.Duration {
		limit.Stop()
		bytes := float64(p.want * (g.f.options.Jobs + 1))
		limit = time.AfterFunc(beginning*g.late+time.Duration(bytes/g.alone*float64(time.Second)), func() { cancel(errSlow) })
		took = max(time.Since(asked), 1)
		if p.probe {
			g.firstBegun()
		}
		return took
	}
	err := g.read(ctx, p, func() { cancel(nil) }, begun, ending)
	limit.Stop()
	if cause := context.Cause(ctx); err != nil && (cause == errSlow || cause == errDear) {
		return cause
	}
	if err != nil {
		return err
	}
	g.compare(p.probe, took)
	g.host.came(took > g.late)
	g.deliver(p)
	return nil
}

const (
	// near is how many ranges the first one, which lies behind them, is compared with.
	near = 4
	// hiccups is the divisor of the patience that makes an answer late, and not by chance.
	hiccups = 10
)

// compare notes how long a range took to begin. The blob is doubtful if its last bytes began
// clearly later than its first did, or later than all of the first ranges that helped.
func (g *ranges) compare(probe bool, took time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if probe {
		g.host.began()
		if g.behind = took; took > (g.begin+g.late)/2 {
			g.near = near
			g.host.doubt()
		}
		return
	}
	if g.near == near {
		return
	}
	g.near++
	if g.before = max(g.before, took); g.near == near && g.behind > 2*g.before+g.f.options.Patience/hiccups {
		g.host.doubt()
	}
}

// firstBegun has the blob's own line wait for the first range if it comes there.
func (g *ranges) firstBegun() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.begun = true
}

// read reads what a piece lacks. It calls cancel before it closes what it reads, so that
// this does not read on, and begun when the first byte is there, which returns how long
// that took.
func (g *ranges) read(ctx context.Context, p *piece, cancel func(), begun func() time.Duration, ending func()) error {
	body, err := g.source.OpenRange(ctx, g.blob, p.offset+int64(p.n), int64(p.want-p.n))
	if err != nil {
		return err
	}
	defer body.Close()
	defer cancel()
	n, err := io.ReadAtLeast(body, p.buffer[p.n:p.want], 1)
	p.n += n
	if err == nil {
		err = p.readRest(body, begun(), ending)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("at %d of %d: %w", p.offset+int64(p.n), g.blob.Size, err)
	}
	if n, _ := body.Read(make([]byte, 1)); n > 0 { // Up to its end, so that the connection can be used again.
		return fmt.Errorf("%w: more came than was asked for", ErrNoRanges)
	}
	return nil
}

// readTo reads until the piece has n bytes.
func (p *piece) readTo(body io.Reader, n int) error {
	n, err := io.ReadFull(body, p.buffer[p.n:max(p.n, n)])
	p.n += n
	return err
}

// readRest reads what is left of an answer. It calls ending before the end, as long as the answer
// took to begin; the rate of the first quarter tells when that is.
func (p *piece) readRest(body io.Reader, late time.Duration, ending func()) error {
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
		g.release(p)
		return
	}
	p.ready = true
	g.changed.Broadcast()
}

// release gives a piece's buffer back.
func (g *ranges) release(p *piece) {
	if p.reserved {
		p.reserved, g.lent = false, false
		g.changed.Broadcast()
	} else if p.buffer != nil && !p.probe {
		g.f.buffers.put(p.buffer)
	}
	p.buffer = nil
}
