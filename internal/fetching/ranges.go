package fetching

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/dockerarchive/dockerarchive/progress"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// RangeSource is a Source that can open a part of a blob, any number of them at once.
type RangeSource interface {
	Source
	// OpenRange returns length bytes of a blob from offset on. The error is
	// ErrNoRanges if that cannot be had of this blob; Open is asked for it then.
	OpenRange(ctx context.Context, blob v1.Descriptor, offset, length int64) (io.ReadCloser, error)
}

// ErrNoRanges is found in the error of a RangeSource that has nothing but whole blobs.
var ErrNoRanges = errors.New("no ranges of it can be read")

// errRange is found in errors of ranges that have been tried again already.
var errRange = errors.New("reading a range")

const (
	// RangeSize is the size of a range, in bytes, where Options say nothing of it: what a line of 20 MB/s takes much
	// longer to bring than to ask for, and small enough to be kept until its turn.
	RangeSize = 3 << 19
	// runLength is how many ranges that follow each other are asked for at once where
	// nobody helps: fewer questions for the same bytes.
	runLength = 8
	// worthwhile is the part of a range, as its divisor, that an attempt must bring for
	// the next to follow at once, and to have as many after it as the first had.
	worthwhile = 4
	// buffersPerJob is how many ranges are kept for each line: the one that it
	// brings, and one that came before its turn.
	buffersPerJob = 2
	// maxBuffers is where more lines have no more buffers: 24 MB.
	maxBuffers = 16
	// rangesMemory is how many bytes all ranges together may take: those of maxBuffers
	// and of six blobs.
	rangesMemory = (maxBuffers + 6) * RangeSize
	// minRange is what a question is worth, however many jobs there are.
	minRange = 128 << 10
)

// ranges reads a blob in ranges, several at once, and returns them in order. A blob
// has one line of its own; others help it while fewer blobs than there may be lines
// are fetched.
type ranges struct {
	ctx    context.Context
	cancel context.CancelFunc
	f      *Fetcher
	source RangeSource
	blob   v1.Descriptor
	stop   func() bool

	mu      sync.Mutex
	changed sync.Cond
	next    int64    // where what nobody fetches yet begins
	queue   []*piece // what is fetched, or has been and was not returned, in order
	helpers int      // on lines of others
	reserve []byte   // for the blob's own line when others have all buffers
	lent    bool     // reserve is in use
	proven  bool     // the source has given a range
	err     error    // to be returned behind the pieces that came before
	closed  bool
}

// piece is one range of a blob. What a worker fills is its own until ready is set.
type piece struct {
	offset   int64
	want     int
	buffer   []byte
	n        int  // bytes that have come
	read     int  // bytes of them that have been returned
	ready    bool // all have come
	reserved bool // buffer is the reserve
}

// newRanges begins to read a blob at offset.
func newRanges(ctx context.Context, f *Fetcher, source RangeSource, blob v1.Descriptor, offset int64) *ranges {
	ctx, cancel := context.WithCancel(ctx)
	g := &ranges{ctx: ctx, cancel: cancel, f: f, source: source, blob: blob, next: offset}
	g.changed.L = &g.mu
	g.stop = context.AfterFunc(ctx, func() { g.fail(context.Cause(ctx)) })
	go g.own()
	return g
}

// Read implements io.Reader.
func (g *ranges) Read(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		if len(g.queue) > 0 && g.queue[0].ready {
			return g.take(p), nil
		}
		if g.err != nil {
			return 0, g.err
		}
		if len(g.queue) == 0 && g.next >= g.blob.Size {
			return 0, io.EOF
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

// Close ends reading. It does not wait for a source that does not respect its
// context.
func (g *ranges) Close() error {
	g.stop()
	g.cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if g.err == nil {
		g.err = context.Canceled
	}
	for _, p := range g.queue {
		if p.ready {
			g.release(p)
		}
	}
	g.queue = nil
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
	for {
		g.mu.Lock()
		g.help()
		count := 1 // The first is a question too.
		if g.proven && g.helpers == 0 {
			count = runLength
		}
		run := g.claim(count)
		g.mu.Unlock()
		if len(run) == 0 || !g.fetch(run) {
			return
		}
	}
}

// help has others fetch what they may. mu is held.
func (g *ranges) help() {
	for g.proven && g.err == nil && g.next < g.blob.Size && g.f.lines.tryHelp() {
		buffer := g.f.buffers.tryGet()
		if buffer == nil {
			g.f.lines.helped()
			return
		}
		run := g.claim(1)
		run[0].buffer = buffer
		g.helpers++
		go func() {
			ok := g.fetch(run)
			g.f.lines.helped()
			g.mu.Lock()
			defer g.mu.Unlock()
			g.helpers--
			if ok {
				g.help()
			}
		}()
	}
}

// claim returns the next pieces, for the caller to fetch. mu is held.
func (g *ranges) claim(count int) []*piece {
	var run []*piece
	for range count {
		if g.err != nil || g.next >= g.blob.Size {
			break
		}
		want := min(int64(g.f.options.RangeSize), g.blob.Size-g.next)
		p := &piece{offset: g.next, want: int(want)}
		g.next += want
		g.queue = append(g.queue, p)
		run = append(run, p)
	}
	return run
}

// fetch fills pieces that follow each other, going on after errors that may pass
// where it was: at once if that was worthwhile, for whoever breaks off now and then gives
// most over a new connection. It returns false if it could not.
func (g *ranges) fetch(run []*piece) bool {
	defer func() { // What was claimed and is not ready is nobody's any more.
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
		err := g.read(run, &i)
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
			if !backoff.MayPass(err) {
				next = fmt.Errorf("%w: %w", ErrNoRanges, next) // Open knows what is the matter.
			}
			g.fail(fmt.Errorf("%w: %w", errRange, next))
			return false
		}
	}
}

// reached returns where what is in pieces up to the i-th ends.
func reached(run []*piece, i int) int64 { return run[i].offset + int64(run[i].n) }

// read reads what pieces from the i-th on lack, and counts i up.
func (g *ranges) read(run []*piece, i *int) error {
	last := run[len(run)-1]
	offset := reached(run, *i)
	end := last.offset + int64(last.want)
	ctx, cancel := context.WithCancel(g.ctx)
	defer cancel()
	body, err := g.source.OpenRange(ctx, g.blob, offset, end-offset)
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
		n, err := io.ReadFull(body, p.buffer[p.n:p.want])
		p.n += n
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("at %d of %d: %w", p.offset+int64(p.n), g.blob.Size, err)
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

// provide gets a piece its buffer. There is one soon: what comes before it is on its
// way, or has come.
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
	g.proven = true
	if g.closed {
		return // fetch releases it.
	}
	p.ready = true
	g.changed.Broadcast()
}

// buffers are what ranges that come before their turn are kept in.
type buffers struct {
	mu   sync.Mutex
	free [][]byte
	left int // that may still be made
	size int
}

func (b *buffers) tryGet() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.free); n > 0 {
		buffer := b.free[n-1]
		b.free = b.free[:n-1]
		return buffer
	}
	if b.left == 0 {
		return nil
	}
	b.left--
	return make([]byte, b.size)
}

func (b *buffers) put(buffer []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free = append(b.free, buffer)
}

// lines counts who reads: a blob has a line for itself, those that are left help.
type lines struct {
	mu      sync.Mutex
	max     int
	blobs   int
	helpers int
}

func (l *lines) begin() { l.add(1) }
func (l *lines) end()   { l.add(-1) }

func (l *lines) add(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blobs += n
}

func (l *lines) tryHelp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.blobs+l.helpers >= l.max {
		return false
	}
	l.helpers++
	return true
}

func (l *lines) helped() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.helpers--
}

// fewer is for a source that asks not to be asked so much: half as many help from now
// on. A blob's own line stays.
func (l *lines) fewer() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.max = max(l.max/2, 1)
}
