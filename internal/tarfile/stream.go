package tarfile

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
)

// StreamWriter is a Writer to a pipe or anything else that is written from
// beginning to end. A blob of unknown size is spooled first, because its header
// has to come before it; so is one whose turn has not come.
//
// Its Seal waits until all entries before have been sent. Entries that wait in later
// slots are sent before their turn. A method whose context ends while it waits for
// others leaves them alone; the stream is broken for everybody if one ends whose data is
// partly sent. Create, Reserve, Drop and Release never wait for the stream.
type StreamWriter struct {
	queue
	pipe *pipe
	// Entries from spool, or metadata, are being sent, without the lock: nobody
	// else may write. While a blob is in place, it is the only one who may.
	sending bool
}

var _ Writer = (*StreamWriter)(nil)

// NewStreamWriter returns a Writer to a stream. Blobs of unknown size, or that
// have to wait for their turn, are kept in unnamed files in spoolDir.
func NewStreamWriter(w io.Writer, spoolDir string) *StreamWriter {
	s := &StreamWriter{pipe: newPipe(w)}
	s.queue = newQueue(s, spoolDir)
	return s
}

// Seal implements Writer.
func (w *StreamWriter) Seal(ctx context.Context, slot *Slot, entries []*Entry, small Smalls) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	span, err := smallSpan(small)
	if err != nil {
		return err
	}
	hasSmall := span > 0
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if slot != nil && slot.released {
		slot = nil
	}
	if slot == nil && hasSmall {
		slot = w.floatingLocked(blockSize)
	}
	err = w.waitLocked(ctx, func() bool { return w.mayLocked(slot, entries, hasSmall) })
	if err == nil {
		var tail func(io.Writer) error
		if hasSmall {
			tail = func(to io.Writer) error { return writeSmall(to, small, span) }
		}
		err = w.sendLocked(ctx, entries, tail)
	}
	if err != nil {
		if slot != nil && slot.floating {
			slot.dropLocked()
			_ = w.advanceLocked() // A failure is kept in w.err.
		}
		return err
	}
	if err := w.listing.addSmall(small); err != nil {
		return w.failLocked(err)
	}
	for _, e := range entries {
		delete(w.live, e)
	}
	if slot != nil {
		slot.releaseLocked()
	}
	return w.advanceLocked()
}

// mayLocked reports whether the stream is free for the next data. Small entries go where
// their slot is; entries whose turn has not come, between blobs.
func (w *StreamWriter) mayLocked(slot *Slot, entries []*Entry, hasSmall bool) bool {
	switch {
	case hasSmall:
		return !w.sending && w.first == slot
	case slices.ContainsFunc(entries, func(e *Entry) bool { return e.spool != nil }):
		return !w.sending && !w.blobInPlaceLocked()
	default:
		return true
	}
}

func (w *StreamWriter) blobInPlaceLocked() bool {
	return w.first != nil && w.first.blob != nil && w.first.blob.inPlace
}

// sendLocked sends those entries that are in spool, and the output of tail, which may be
// nil. It gives up the lock meanwhile.
func (w *StreamWriter) sendLocked(ctx context.Context, entries []*Entry, tail func(io.Writer) error) error {
	var spooled []*Entry
	for _, e := range entries {
		if e.spool != nil && !e.sending {
			e.sending = true
			spooled = append(spooled, e)
		}
	}
	if len(spooled) == 0 && tail == nil {
		return nil
	}
	w.sending = true
	w.mu.Unlock()
	var err error
	for _, e := range spooled {
		if err = w.copySpool(ctx, e); err != nil {
			break
		}
	}
	if err == nil && tail != nil {
		err = tail(writerFunc(func(p []byte) (int, error) { return len(p), w.pipe.write(ctx, p, place{}) }))
	}
	w.mu.Lock()
	return w.sentLocked(spooled, err)
}

// writeMarker writes the end-of-archive marker.
func writeMarker(to io.Writer) error {
	_, err := to.Write(make([]byte, 2*blockSize))
	return err
}

// sentLocked ends a send that sendLocked or settleLocked has begun.
func (w *StreamWriter) sentLocked(spooled []*Entry, err error) error {
	w.sending = false
	for _, e := range spooled {
		w.listing.addEntry(e)
		e.sending = false
		if closeErr := e.unspool(); err == nil {
			err = closeErr
		}
	}
	if err != nil {
		return w.failLocked(err)
	}
	return nil
}

// copySpool sends an entry that is in spool.
func (w *StreamWriter) copySpool(ctx context.Context, e *Entry) error {
	buf := make([]byte, min(e.span, copyBufferSize))
	send := func(off, n int64, at place) error {
		to := writerFunc(func(p []byte) (int, error) {
			err := w.pipe.write(ctx, p, at)
			at = at.behind(int64(len(p)))
			return len(p), err
		})
		_, err := io.CopyBuffer(to, io.NewSectionReader(e.spool, off, n), buf)
		return err
	}
	if e.origin.file == nil {
		return send(0, e.span, place{})
	}
	end := e.span - padding(e.size)
	head := end - e.size
	if err := send(0, head, place{}); err != nil {
		return err
	}
	if err := send(head, e.size, e.origin); err != nil {
		return err
	}
	return send(end, e.span-end, place{})
}

type writerFunc func(p []byte) (int, error)

// Write implements io.Writer.
func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// settleLocked implements output. An entry is sent by a goroutine of its own, so that no
// caller has to wait for it that has other things to do.
func (w *StreamWriter) settleLocked(s *Slot) (bool, error) {
	e := s.entry
	if e == nil {
		return s.released, nil // The stream is the blob's until it ends.
	}
	if e.spool == nil {
		return true, nil
	}
	if !w.sending {
		w.sending, e.sending = true, true
		go func() {
			err := w.copySpool(context.Background(), e)
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.sentLocked([]*Entry{e}, err) == nil {
				_ = w.advanceLocked() // A failure is kept in w.err.
			}
		}()
	}
	return false, nil
}

func (w *StreamWriter) vacateLocked(*Slot) {}

// evict implements output. No blob on a stream has a guessed place.
func (w *StreamWriter) evict(*Blob) error { return errors.ErrUnsupported }

func (w *StreamWriter) admitLocked(b *Blob) (bool, error) {
	turn := w.first == b.slot
	direct := b.size >= 0 && b.header != nil && b.spool == nil
	switch {
	case turn && direct && !w.sending:
		b.inPlace = true
		return true, nil
	case w.sending && (direct || !turn):
		return false, nil // The reader of the stream is slow.
	default:
		return w.standByLocked(b)
	}
}

func (w *StreamWriter) write(ctx context.Context, b *Blob, p []byte) error {
	if err := w.begin(ctx, b); err != nil {
		return err
	}
	return w.send(ctx, p, b.origin.behind(b.n))
}

// begin sends the header of a blob unless it has been sent.
func (w *StreamWriter) begin(ctx context.Context, b *Blob) error {
	if err := ctx.Err(); err != nil || b.sent {
		return err
	}
	header, err := encodeHeader(b.header, b.size)
	if err != nil {
		return err
	}
	b.sent = true
	return w.send(ctx, header, place{})
}

// send writes to the stream, which is of no use any more if that fails.
func (w *StreamWriter) send(ctx context.Context, p []byte, at place) error {
	err := w.pipe.write(ctx, p, at)
	if err != nil {
		w.fail(err)
	}
	return err
}

func (w *StreamWriter) frame(ctx context.Context, b *Blob, _, pad []byte) error {
	if err := w.begin(ctx, b); err != nil { // The header is that of Create.
		return err
	}
	return w.send(ctx, pad, place{})
}

// completeLocked implements output. Entries are listed as they are sent.
func (w *StreamWriter) completeLocked(b *Blob, e *Entry) {
	if b.inPlace {
		w.listing.addEntry(e)
	}
}

// deliverLocked implements output. Entries that have to wait for others are sent
// later.
func (w *StreamWriter) deliverLocked(ctx context.Context, e *Entry) error {
	if !e.sending {
		return nil
	}
	err := w.waitLocked(ctx, func() bool { return !e.sending })
	if err != nil {
		w.pipe.interrupt(err)
		return w.failLocked(err)
	}
	return nil
}

// Sealed implements Writer. A blob that is being sent counts too.
func (w *StreamWriter) Sealed() int64 { return w.pipe.n.Load() }

// Close implements Writer.
func (w *StreamWriter) Close(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.waitLocked(ctx, func() bool { return !w.sending })
	if err == nil && w.blobInPlaceLocked() { // The marker would be part of it.
		err = ErrBusy
	}
	if err == nil {
		err = w.sendLocked(ctx, nil, writeMarker)
	}
	w.pipe.interrupt(os.ErrClosed)
	w.discardLocked(os.ErrClosed)
	return err
}

// Abort implements Writer.
func (w *StreamWriter) Abort() {
	w.pipe.interrupt(os.ErrClosed)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.discardLocked(os.ErrClosed)
}
