package fetching

import (
	"context"
	"errors"
	"sync"
)

// firstRange is the most that the first range of a blob has, in bytes. It waits for its turn until all
// before it has come.
const firstRange = 64 << 10

// ask begins to find out what ranges are like here, by the last one of the blob. A host that
// reads its way to what it is asked for takes longest for that, and a cache that fetches
// all of a blob for any range has then done so.
func (g *ranges) ask() {
	want := min(int64(g.f.options.RangeSize), g.blob.Size, firstRange)
	g.first = &piece{offset: g.blob.Size - want, want: int(want), claimed: true, probe: true, buffer: make([]byte, want)}
	go g.try(g.first)
}

// try fetches the first range. A host that takes long to begin reads its way to what it
// is asked for, or asks another for all of it.
func (g *ranges) try(first *piece) {
	defer g.host.asked()
	if !g.fetch(first, func() {}) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ready = !g.closed
	g.changed.Broadcast()
}

var (
	errDear      = errors.New("a range takes long to begin")
	errSlow      = errors.New("a range takes longer than the blob's own line would")
	errOvertaken = errors.New("the blob's own line was faster than a range")
)

// help has others fetch what they may, and the blob's own line what they leave to it. mu is
// held.
func (g *ranges) help() {
	for g.err == nil && g.left() && g.f.lines.tryHelp(g.host) {
		var buffer []byte
		if open := g.open(); open == nil || open.buffer == nil {
			if buffer = g.f.buffers.tryGet(); buffer == nil {
				g.f.lines.helped(g.host)
				break
			}
		}
		p := g.claim()
		if buffer != nil {
			p.buffer = buffer
		}
		g.helpers++
		go func() {
			leave := sync.OnceFunc(g.leave)
			g.fetch(p, leave)
			leave()
		}()
	}
	if g.err == nil && g.taken && g.owns == 0 && !g.refused {
		g.own()
	}
}

// leave is called when a helper has fetched its range, or is about to. Another may come
// for the next one.
func (g *ranges) leave() {
	g.f.lines.helped(g.host)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.helpers--
	g.help()
	g.changed.Broadcast()
}

// own begins a range on the line that the blob has for itself, unless it is better to go
// on without ranges, because nobody helps. mu is held.
func (g *ranges) own() {
	if !g.left() || g.helpers == 0 && !g.hasOpen() {
		return
	}
	p := g.claim()
	g.owns++
	go func() {
		ended := sync.OnceFunc(g.ownEnded)
		if !g.provide(p) || !g.fetch(p, ended) {
			g.refuse()
		}
		ended()
	}()
}

// refuse notes that the own line may bring no range, for this once.
func (g *ranges) refuse() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = true
}

// ownEnded is called when the own line has fetched its range, or is about to.
func (g *ranges) ownEnded() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.owns--
	g.help()
	g.changed.Broadcast()
}

// left reports whether there is something to claim. mu is held.
func (g *ranges) left() bool {
	g.join()
	return !g.host.ended() && (g.next < g.blob.Size || g.hasOpen())
}

// hasOpen reports whether somebody gave a piece back. mu is held.
func (g *ranges) hasOpen() bool { return g.open() != nil }

// open returns the first piece that somebody gave back, or nil. mu is held.
func (g *ranges) open() *piece {
	for _, p := range g.queue {
		if !p.claimed {
			return p
		}
	}
	return nil
}

// join puts the first range into the queue when it is its turn. mu is held.
func (g *ranges) join() {
	if g.first != nil && g.next == g.first.offset {
		g.queue = append(g.queue, g.first)
		g.next += int64(g.first.want)
		g.first = nil
	}
}

// claim returns the next piece for the caller to fetch; there must be one. mu is held.
func (g *ranges) claim() *piece {
	p := g.open()
	if p == nil {
		end := g.blob.Size
		if g.first != nil {
			end = g.first.offset
		}
		p = &piece{offset: g.next, want: int(min(int64(g.f.options.RangeSize), end-g.next))}
		g.next = p.end()
		g.queue = append(g.queue, p)
	}
	p.claimed = true
	return p
}

// fetch fills a piece. After an error that may pass it goes on where it was. It returns
// false if it gave up. It may call ending, at the time when a new request would be answered
// just as the last byte arrives.
func (g *ranges) fetch(p *piece, ending func()) bool {
	tries := newAttempts(g.f, g.blob)
	for slow := 0; ; {
		before := p.n
		err := g.attempt(p, ending)
		if err == nil {
			return true
		}
		offset := p.offset + int64(p.n)
		switch {
		case g.ctx.Err() != nil:
			if err = context.Cause(g.ctx); err == errOvertaken {
				g.host.spoilt()
			}
		case err == errDear:
			g.host.end()
		case errors.Is(err, ErrRefused):
			g.img.refused.Store(true)
		case tries.refused(g.host, err):
			if g.leaveTo(p) {
				return false
			}
		case err == errSlow:
			if g.host.spoilt(); slow == 0 && !g.host.ended() {
				tries.announce(err, offset)
				slow++
				continue
			}
			g.host.loses()
		default:
			if err = tries.next(g.ctx, err, int64(p.n-before), offset); err == nil {
				continue
			}
			g.host.end()
		}
		g.giveUp(p, err)
		return false
	}
}

// leaveTo leaves a piece to others, because the host refused it to one. It returns false if
// there are none.
func (g *ranges) leaveTo(p *piece) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.probe || g.closed {
		return false
	}
	p.claimed = false
	return true
}

// giveUp ends all ranges of the blob, because one could not be had. The piece has no owner
// any more.
func (g *ranges) giveUp(p *piece, err error) {
	g.mu.Lock()
	g.release(p)
	g.mu.Unlock()
	g.fail(err)
}
