package fetching

import (
	"context"
	"errors"
	"io"
	"time"
)

// ask begins to find out what ranges are like here, by a single one at an offset.
func (g *ranges) ask(offset int64) {
	want := min(int64(g.f.options.RangeSize), g.blob.Size-offset)
	g.first = &piece{offset: offset, want: int(want)}
	go g.try(g.first)
}

// try fetches the first range. A host that takes long to begin reads its way to what it
// is asked for, or asks another for all of it.
func (g *ranges) try(first *piece) {
	ctx, cancel := context.WithCancelCause(g.ctx)
	defer cancel(nil)
	patience := time.AfterFunc(g.late, func() { cancel(errDear) })
	defer patience.Stop()
	begun := func() {
		patience.Stop()
		g.mu.Lock()
		defer g.mu.Unlock()
		g.begun = true
	}
	i, err := 0, errNoBuffer
	if first.buffer = g.f.buffers.tryGet(); first.buffer != nil {
		err = io.ErrUnexpectedEOF
		for before := -first.want; err != nil && first.n-before >= g.f.options.RangeSize/worthwhile; {
			before = first.n
			if err = g.read(ctx, []*piece{first}, &i, begun, func() {}); err != nil && !g.f.options.Backoff().MayPass(err) {
				break
			}
		}
	}
	g.mu.Lock()
	if g.ready = first.ready; !g.ready {
		g.release(first)
	}
	g.changed.Broadcast()
	g.mu.Unlock()
	switch {
	case err == nil:
		g.host.answered(true)
		return
	case err == errNoBuffer:
		g.host.answered(false)
	case context.Cause(g.ctx) == errOvertaken:
		g.host.failed()
	case g.ctx.Err() != nil:
		g.host.answered(false) // The blob is not read any more.
	case context.Cause(ctx) == errDear:
		g.host.end()
	case g.f.options.Busy(err):
		g.f.lines.fewer()
		g.host.answered(false)
	case g.f.options.Backoff().MayPass(err):
		g.host.failed()
	default:
		g.host.end()
	}
	g.fail(err)
}

var (
	errDear      = errors.New("a range takes long to begin")
	errOvertaken = errors.New("the blob's own line was faster than a range")
	errNoBuffer  = errors.New("there is no room for a range")
)
