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
	// it is empty. Facts learnt from ranges of one image hold for all of the same host. It is
	// called often, and may change when Prepared finds the image elsewhere.
	Host() string
	// Prepared reports whether a range can be requested without delay. If not, it begins what
	// that takes, such as to log in, and does not wait; ctx ends it.
	Prepared(ctx context.Context) bool
	// OpenRange returns length bytes of a blob from offset on. The error is
	// ErrNoRanges if that cannot be had of this blob, and ErrRefused if the image is to
	// blame and not the host; Open is asked for it then.
	OpenRange(ctx context.Context, blob v1.Descriptor, offset, length int64) (io.ReadCloser, error)
}

// ErrNoRanges is found in the error of a RangeSource that has nothing but whole blobs.
var ErrNoRanges = errors.New("no ranges of it can be read")

// ErrRefused is found in the error of a RangeSource for an image of which it may read no ranges,
// because of its credentials or the like.
var ErrRefused = errors.New("ranges of it are refused")

const (
	// RangeSize is the size of a range, in bytes, unless Options set it. A line of 20 MB/s takes
	// longer to bring a range than to request the next one, which happens meanwhile. A range is
	// also small enough to be kept until its turn.
	RangeSize = 3 << 19
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
	img    *Image
	source RangeSource
	blob   v1.Descriptor
	begin  time.Duration // which the blob's own line took
	late   time.Duration // what is too long for a range to begin
	alone  float64       // what the own line brought, in bytes a second
	stop   func() bool

	mu      sync.Mutex
	changed sync.Cond
	first   *piece        // the last one, which shows what ranges are like here; nil when it is in queue
	begun   bool          // first has
	ready   bool          // others may help
	behind  time.Duration // how long the first range took to begin
	before  time.Duration // how long those that help took, at most
	near    int           // how many of these there were
	start   int64         // where they begin; 0 if that is not decided
	next    int64         // where what nobody has claimed yet begins
	queue   []*piece      // what has been claimed and was not returned, in order
	helpers int           // on lines of others
	owns    int           // on the blob's own line: two while one range follows another
	refused bool          // the own line was
	taken   bool          // the own line has come to start
	reserve []byte        // for the blob's own line when others have all buffers
	lent    bool          // reserve is in use
	err     error         // to be returned behind the pieces that came before
	closed  bool
}

// newRanges prepares help for a blob whose own line is like l.
func newRanges(ctx context.Context, f *Fetcher, h *host, img *Image, blob v1.Descriptor, l line) *ranges {
	ctx, cancel := context.WithCancelCause(ctx)
	g := &ranges{
		ctx: ctx, cancel: cancel, f: f, host: h, img: img, source: img.source.(RangeSource), blob: blob,
		begin: l.begin, late: l.late(f.options.Patience), alone: l.alone,
	}
	g.changed.L = &g.mu
	f.buffers.open()
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
func (g *ranges) takeOver() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taken = true
	g.help()
}

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
		coming := len(g.queue) > 0 && g.queue[0].claimed
		switch {
		case coming && g.queue[0].ready:
			return g.take(p), nil
		case g.err != nil:
			return 0, g.err
		case len(g.queue) == 0 && g.next >= g.blob.Size:
			return 0, io.EOF
		case !coming && g.helpers+g.owns == 0:
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
		g.help() // One may have gone for want of a buffer.
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
	if g.closed {
		return nil
	}
	g.closed = true
	if g.err == nil {
		g.err = context.Canceled
	}
	for _, p := range append(g.queue, g.first) {
		if p != nil && (p.ready || !p.claimed) {
			g.release(p)
		}
	}
	g.queue, g.first = nil, nil
	g.f.buffers.close()
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
