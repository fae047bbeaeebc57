package tarfile

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// queue is the common part of a FileWriter and a StreamWriter: the order of an
// archive, and the waits for places in it.
type queue struct {
	out      output // the writer that this is the queue of
	spoolDir string

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever the fields below change
	// Slots whose place is not settled yet, in order.
	first, last *Slot
	count       uint64              // of slots that have been in the queue
	live        map[*Entry]struct{} // entries not sealed yet
	err         error               // the first failure to write, after which nothing works any more
	listing     *Listing            // nil if nobody wants one
}

// output has the operations that a blob, or the queue, needs of the archive's
// kind of file.
type output interface {
	// settleLocked handles the first slot of the queue, and reports whether the
	// next one may follow.
	settleLocked(s *Slot) (bool, error)

	// vacateLocked gives up the place of a slot that nothing is written to.
	vacateLocked(s *Slot)

	// admitLocked reports whether content of a blob may be written, in place or
	// to its spool.
	admitLocked(b *Blob) (bool, error)

	// write adds content to a blob in place.
	write(ctx context.Context, b *Blob, p []byte) error

	// evict copies the content that a blob in place has so far to its spool.
	evict(b *Blob) error

	// frame writes header and padding of a blob in place.
	frame(ctx context.Context, b *Blob, header, pad []byte) error

	// completeLocked notes that a blob in its slot has become an entry.
	completeLocked(b *Blob, e *Entry)

	// deliverLocked waits until an entry is where it has begun to go.
	deliverLocked(ctx context.Context, e *Entry) error
}

func newQueue(out output, spoolDir string) queue {
	return queue{out: out, spoolDir: spoolDir, changed: make(chan struct{}), live: map[*Entry]struct{}{}}
}

// Record implements Writer.
func (q *queue) Record(l *Listing) { q.listing = l }

// Reserve implements Writer.
func (q *queue) Reserve(name string, size int64) *Slot {
	head, err := HeaderSpan(name)
	if err != nil {
		head = blockSize // The blob with this name gets the error.
	}
	if size < 0 || size > maxSize {
		size = -1
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	s := &Slot{q: q, head: head, size: size, off: -1}
	q.pushLocked(s)
	_ = q.advanceLocked() // A failure is kept in q.err.
	return s
}

// Create implements Writer.
func (q *queue) Create(slot *Slot, header *tar.Header, size int64) (*Blob, error) {
	size = max(size, -1)
	if size > maxSize {
		return nil, fmt.Errorf("%d bytes are %w", size, ErrTooLarge)
	}
	var head int64 // not known yet
	if header != nil {
		blocks, err := encodeHeader(header, max(size, 0))
		if err != nil {
			return nil, err
		}
		head = int64(len(blocks))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return nil, q.err
	}
	if slot != nil && !slot.fitsLocked(head, size) {
		slot.releaseLocked() // It was made to measure, for a blob that failed or was announced wrongly.
	}
	if slot == nil || slot.released {
		slot = q.floatingLocked(blockSize)
	}
	if slot.blob != nil || slot.entry != nil {
		return nil, errors.New("internal error: two blobs for one slot")
	}
	if head > 0 {
		slot.head = head
	}
	if slot.off < 0 || slot.size >= 0 {
		slot.size = size
	}
	b := &Blob{q: q, slot: slot, header: header, head: slot.head, size: size, guess: slot.guess}
	slot.blob = b
	return b, q.advanceLocked()
}

// Drop implements Writer.
func (q *queue) Drop(e *Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.live[e]; !ok {
		return
	}
	delete(q.live, e)
	if e.place != nil {
		e.place.remove()
		e.place = nil
	}
	if !e.sending {
		_ = e.unspool() // Unnamed and unwanted: nothing can be lost.
	}
}

// unspool frees the spool of an entry that does not need it any more.
func (e *Entry) unspool() error {
	if e.spool == nil {
		return nil
	}
	err := e.spool.Close()
	e.spool = nil
	return err
}

// floatingLocked appends a slot that nobody reserved.
func (q *queue) floatingLocked(head int64) *Slot {
	s := &Slot{q: q, head: head, size: -1, off: -1, floating: true}
	q.pushLocked(s)
	return s
}

func (q *queue) pushLocked(s *Slot) {
	q.count++
	s.number, s.queued, s.prev = q.count, true, q.last
	if q.last == nil {
		q.first = s
	} else {
		q.last.next = s
	}
	q.last = s
}

func (q *queue) removeLocked(s *Slot) {
	if !s.queued {
		return
	}
	if s.prev == nil {
		q.first = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next == nil {
		q.last = s.prev
	} else {
		s.next.prev = s.prev
	}
	s.prev, s.next, s.queued = nil, nil, false
}

// advanceLocked settles the places of as many slots as possible, and wakes the
// blobs that wait for that.
func (q *queue) advanceLocked() error {
	if q.err != nil {
		return q.err
	}
	for q.first != nil {
		settled, err := q.out.settleLocked(q.first)
		if err != nil {
			return q.failLocked(err)
		}
		if !settled {
			break
		}
		q.removeLocked(q.first)
	}
	q.broadcastLocked()
	return nil
}

// standByLocked is admitLocked for a blob that cannot go to its place now.
func (q *queue) standByLocked(b *Blob) (bool, error) {
	if q.first != nil && q.first != b.slot && q.first.blob != nil && !q.first.blob.source.slow(time.Now()) {
		return false, nil
	}
	return true, b.openSpool()
}

// waitLocked gives up the lock until ready, a failure, or the end of ctx.
func (q *queue) waitLocked(ctx context.Context, ready func() bool) error {
	for {
		if q.err != nil {
			return q.err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if ready() {
			return nil
		}
		changed := q.changed
		q.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		q.mu.Lock()
	}
}

// discardLocked ends the Writer with err, unless it has failed already.
func (q *queue) discardLocked(err error) {
	for e := range q.live {
		if !e.sending {
			_ = e.unspool() // Unnamed and unwanted: nothing can be lost.
		}
	}
	clear(q.live)
	_ = q.failLocked(err)
}

// failLocked records the first error and wakes all that wait.
func (q *queue) failLocked(err error) error {
	if q.err == nil {
		q.err = err
	}
	q.broadcastLocked()
	return err
}

func (q *queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	_ = q.failLocked(err)
}

func (q *queue) broadcastLocked() {
	close(q.changed)
	q.changed = make(chan struct{})
}
