package fetching

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// RangeSource is a Source that can open a part of a blob, any number of them at once.
type RangeSource interface {
	Source
	// Host says where the ranges come from; nothing comes over a network, and in ranges, if
	// it is empty. It is called when an image is added: facts learnt from ranges of one
	// image hold for all of the same host.
	Host() string
	// Prepared reports whether a range can be requested without delay. If not, it begins what
	// that takes, such as to log in, and does not wait; ctx ends it.
	Prepared(ctx context.Context) bool
	// OpenRange returns length bytes of a blob from offset on. The error is
	// ErrNoRanges if that cannot be had of this blob; Open is asked for it then.
	OpenRange(ctx context.Context, blob v1.Descriptor, offset, length int64) (io.ReadCloser, error)
}

// ErrNoRanges is found in the error of a RangeSource that has nothing but whole blobs.
var ErrNoRanges = errors.New("no ranges of it can be read")

const (
	// RangeSize is the size of a range, in bytes, unless Options set it. A line of 20 MB/s takes
	// longer to bring a range than to request the next one, which happens meanwhile. A range is
	// also small enough to be kept until its turn.
	RangeSize = 3 << 19
	// runLength is how many ranges that follow each other are asked for at once where
	// nobody helps: fewer questions for the same bytes.
	runLength = 8
	// worthwhile is the divisor of the part of a range that an attempt must bring, so that
	// the next follows at once and has as many retries as the first had.
	worthwhile = 4
	// early is how many ranges, besides the one that each line brings, are kept before their turn
	// or requested while the ranges before them end. More would gain nothing.
	early = 4
	// maxBuffers bounds the buffers, however many lines there are: 24 MiB.
	maxBuffers = 16
	// rangesMemory is how many bytes all ranges together may take: those of maxBuffers
	// and of six blobs.
	rangesMemory = (maxBuffers + 6) * RangeSize
	// minRange is the smallest range worth a request, for any number of jobs.
	minRange = 128 << 10
)

// ranges is the part of a blob that other lines fetch, ahead of its own line. The own line
// ends where they begin. All that follows is read from here, in order: their ranges, and
// those that the blob's own line now brings between them.
type ranges struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	f      *Fetcher
	host   *host
	source RangeSource
	blob   v1.Descriptor
	late   time.Duration // what is too long for a range to begin
	stop   func() bool

	mu      sync.Mutex
	changed sync.Cond
	first   *piece   // which shows what ranges are like here; nil if that is known, or it has been returned
	begun   bool     // first has
	ready   bool     // others may help
	start   int64    // where they begin; 0 if that is not decided
	next    int64    // where what nobody fetches yet begins
	queue   []*piece // what is fetched, or has been and was not returned, in order
	helpers int      // on lines of others
	reserve []byte   // for the blob's own line when others have all buffers
	lent    bool     // reserve is in use
	err     error    // to be returned behind the pieces that came before
	closed  bool
}

// newRanges prepares help for a blob. late is what is too long for a range to begin.
func newRanges(ctx context.Context, f *Fetcher, h *host, source RangeSource, blob v1.Descriptor, late time.Duration) *ranges {
	ctx, cancel := context.WithCancelCause(ctx)
	g := &ranges{ctx: ctx, cancel: cancel, f: f, host: h, source: source, blob: blob, late: late}
	g.changed.L = &g.mu
	g.stop = context.AfterFunc(ctx, func() { g.fail(context.Cause(ctx)) })
	return g
}

// ownEnd returns where the blob's own line ends: it is at offset n, and goes on for lead
// bytes when others begin. It returns false if nobody helps. Where that is not decided it
// is where the first range lies, which is waited for only if it has begun.
func (g *ranges) ownEnd(n, lead int64) (end int64, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for !g.ready && g.begun && g.err == nil && n >= g.first.offset {
		g.changed.Wait()
	}
	switch {
	case g.err != nil:
		return 0, false
	case g.start > 0:
		return g.start, true
	case !g.ready && n >= g.first.offset:
		g.cancel(errOvertaken)
		return 0, false
	case !g.ready:
		return g.first.offset, true
	}
	g.start = n + lead
	if g.first != nil {
		g.start = min(g.start, g.first.offset)
	}
	if g.start >= g.blob.Size {
		return 0, false
	}
	g.next = g.start
	g.help()
	return g.start, true
}

// takeOver has the blob's own line go on in ranges too.
func (g *ranges) takeOver() { go g.own() }

// helped reports whether others are at it.
func (g *ranges) helped() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.helpers > 0
}

// errOver says that the rest is better read without ranges.
var errOver = errors.New("ranges are of no use any more")

// Read implements io.Reader.
func (g *ranges) Read(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		g.join()
		if len(g.queue) > 0 && g.queue[0].ready {
			return g.take(p), nil
		}
		if g.err != nil {
			return 0, g.err
		}
		if len(g.queue) == 0 && g.next >= g.blob.Size {
			return 0, io.EOF
		}
		if len(g.queue) == 0 && g.host.ended() {
			return 0, errOver
		}
		g.changed.Wait()
	}
}

// take returns data of the first piece.
func (g *ranges) take(p []byte) int {
	first := g.queue[0]
	n := copy(p, first.buffer[first.read:first.n])
	first.read += n
	if first.read == first.n {
		g.queue = g.queue[1:]
		g.release(first)
		if g.helpers > 0 {
			g.help() // One may have gone for want of a buffer.
		}
	}
	return n
}

// Close ends reading. It does not wait for a source that does not respect its
// context.
func (g *ranges) Close() error {
	g.stop()
	g.cancel(nil)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if g.err == nil {
		g.err = context.Canceled
	}
	for _, p := range append(g.queue, g.first) {
		if p != nil && p.ready {
			g.release(p)
		}
	}
	g.queue, g.first = nil, nil
	g.changed.Broadcast()
	return nil
}

func (g *ranges) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
	}
	g.changed.Broadcast()
}

// own fetches on the line that the blob has for itself.
func (g *ranges) own() {
	g.mu.Lock()
	g.help()
	count := 1
	if g.helpers == 0 {
		count = runLength
	}
	run := g.claim(count)
	g.changed.Broadcast() // If there is nothing to claim, that may be the end.
	g.mu.Unlock()
	if len(run) == 0 {
		return
	}
	next := sync.OnceFunc(func() { go g.own() })
	if g.fetch(run, next) {
		next()
	}
}

// help has others fetch what they may. mu is held.
func (g *ranges) help() {
	for g.err == nil && g.left() && g.f.lines.tryHelp() {
		buffer := g.f.buffers.tryGet()
		if buffer == nil {
			g.f.lines.helped()
			return
		}
		run := g.claim(1)
		if len(run) == 0 { // Another blob has just found out that ranges are of no use.
			g.f.buffers.put(buffer)
			g.f.lines.helped()
			return
		}
		run[0].buffer = buffer
		g.helpers++
		var once sync.Once
		leave := func(more bool) {
			once.Do(func() {
				g.f.lines.helped()
				g.mu.Lock()
				defer g.mu.Unlock()
				g.helpers--
				if more {
					g.help()
				}
			})
		}
		go func() { leave(g.fetch(run, func() { leave(true) })) }()
	}
}

// left reports whether there is something to claim. mu is held.
func (g *ranges) left() bool {
	g.join()
	return g.next < g.blob.Size && !g.host.ended()
}

// join puts the first range into the queue when it is its turn. mu is held.
func (g *ranges) join() {
	if g.first != nil && g.next == g.first.offset {
		g.queue = append(g.queue, g.first)
		g.next += int64(g.first.want)
		g.first = nil
	}
}

// claim returns the next pieces, which follow each other, for the caller to fetch. mu is
// held.
func (g *ranges) claim(count int) []*piece {
	var run []*piece
	for len(run) < count && g.err == nil && g.left() {
		if len(run) > 0 && run[len(run)-1].end() != g.next {
			break // The first range lies between.
		}
		end := g.blob.Size
		if g.first != nil {
			end = g.first.offset
		}
		want := min(int64(g.f.options.RangeSize), end-g.next)
		p := &piece{offset: g.next, want: int(want)}
		g.next += want
		g.queue = append(g.queue, p)
		run = append(run, p)
	}
	return run
}
