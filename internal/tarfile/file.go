package tarfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// FileWriter is a Writer to a regular file. A blob is written where it stays if
// its place is known, so its bytes are written once: one of known size into a
// range of its own, one of unknown size at the end of the file, behind a header
// that is filled in later. One with a guessed size (see Blob.Expect) gets a range
// of that size, and loses it if it grows larger.
//
// Its Seal moves entries that stand elsewhere to their places, and moves others
// out of their way. It returns ErrBusy, and does nothing, if blobs that have a
// place but are not complete stand in the way.
type FileWriter struct {
	queue
	file    File
	extents extents // of entries not sealed yet, and of slots
	tail    int64   // where the first slot in the queue begins
	sealed  int64   // everything before this offset is final
	written int64   // the end of the last entry that is complete
	gaps    []gap   // between adopted entries, as far as not taken
}

var _ Writer = (*FileWriter)(nil)

// maxAhead is the largest distance between the last complete entry and the place
// of a blob, with others still to be written between. Sizes are only claims, and
// must not put blobs at offsets that the file system refuses: behind a blob that
// would take more, others wait, as they do for one of unknown size.
const maxAhead = 1 << 40

// NewFileWriter returns a Writer to a regular file whose first from bytes, a
// multiple of 512, are kept as they are: 0 for a new archive, else those of an
// existing one. Blobs that have to wait for their place are kept in unnamed files
// in spoolDir, best the directory of the file.
func NewFileWriter(f File, from int64, spoolDir string) *FileWriter {
	w := &FileWriter{file: f, tail: from, sealed: from, written: from}
	w.queue = newQueue(w, spoolDir)
	if from < 0 || from > maxSize || from%blockSize != 0 {
		w.err = fmt.Errorf("internal error: an archive cannot go on at offset %d", from)
	}
	return w
}

// Seal implements Writer.
func (w *FileWriter) Seal(ctx context.Context, slot *Slot, entries []*Entry, small Smalls) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	span, err := smallSpan(small)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	fresh := w.freshLocked(entries)
	end, moves := w.planLocked(fresh, span)
	if w.busyLocked(end, len(moves) > 0, slot) {
		return ErrBusy
	}
	if err := w.arrangeLocked(ctx, moves, end); err != nil {
		if cancelled := ctx.Err(); cancelled != nil && errors.Is(err, cancelled) { // Between two moves, where all is well.
			w.retailLocked()
			return err
		}
		return w.failLocked(err)
	}
	if err := writeSmall(io.NewOffsetWriter(w.file, end-span), small, span); err != nil {
		return w.failLocked(err)
	}
	for _, e := range fresh {
		w.listing.addEntry(e)
		delete(w.live, e)
		if e.place != nil {
			e.place.remove()
			e.place = nil
		}
	}
	if err := w.listing.addSmall(small); err != nil {
		return w.failLocked(err)
	}
	w.sealed, w.written = end, max(w.written, end)
	if slot != nil {
		slot.releaseLocked()
	}
	w.retailLocked()
	return w.advanceLocked()
}

// freshLocked returns those of entries that are not sealed yet, each once.
func (w *FileWriter) freshLocked(entries []*Entry) []*Entry {
	fresh := make([]*Entry, 0, len(entries))
	seen := make(map[*Entry]struct{}, len(entries))
	for _, e := range entries {
		_, live := w.live[e]
		if _, again := seen[e]; live && !again {
			seen[e] = struct{}{}
			fresh = append(fresh, e)
		}
	}
	return fresh
}

// busyLocked reports whether entries cannot be sealed up to end, because a blob is
// or will be written there; nor may any be moved while a blob has a place that
// they might be moved to. own is the slot of the entries being sealed, or nil.
func (w *FileWriter) busyLocked(end int64, moving bool, own *Slot) bool {
	if s := w.openLocked(); s != nil && s.blob != nil && (moving || s.off < end) {
		return true
	}
	reserved := w.extents.reserved
	if own != nil && own.place != nil && own.blob == nil {
		reserved--
	}
	if reserved == 0 {
		return false
	}
	for x := range w.extents.before(end) {
		if x.entry == nil && (own == nil || x != own.place) {
			return true
		}
	}
	return moving
}

// openLocked returns the slot, if any, whose place has a beginning but no end.
func (w *FileWriter) openLocked() *Slot {
	if w.first == nil || w.first.off < 0 {
		return nil
	}
	return w.first
}

// retailLocked finds out anew where the unused part of the file begins.
func (w *FileWriter) retailLocked() {
	w.tail = w.extents.end(w.sealed)
	if w.first != nil && w.first.blob == nil {
		w.first.off = -1
	}
}

// settleLocked implements output.
func (w *FileWriter) settleLocked(s *Slot) (bool, error) {
	switch e := s.entry; {
	case e != nil && e.spool != nil && !s.floating:
		return true, w.placeLocked(e)
	case e != nil || s.released:
		return true, nil
	}
	if s.off < 0 || s.blob == nil || !s.blob.inPlace { // Without content it can still be moved.
		if s.room() >= 0 && w.fillGapLocked(s) {
			return true, nil
		}
		s.off = w.tail
	}
	size := s.room()
	if size < 0 {
		return false, nil
	}
	x := &extent{off: s.off, span: spanOf(s.head, size), slot: s}
	if x.end()-w.written > maxAhead {
		return false, nil
	}
	s.place = x
	w.extents.append(x)
	w.tail = x.end()
	return true, nil
}

// placeLocked moves a spooled entry to the tail of the archive.
func (w *FileWriter) placeLocked(e *Entry) error {
	if err := moveRange(w.file, w.tail, e.spool, 0, e.span); err != nil {
		return err
	}
	w.occupyLocked(e, w.tail)
	return e.unspool()
}

// occupyLocked says that an entry has been written to the tail of the archive.
func (w *FileWriter) occupyLocked(e *Entry, off int64) {
	e.place = &extent{off: off, span: e.span, entry: e}
	w.extents.append(e.place)
	w.tail = e.place.end()
	w.written = max(w.written, w.tail)
}

// vacateLocked implements output.
func (w *FileWriter) vacateLocked(s *Slot) {
	x := s.place
	if x == nil {
		return
	}
	x.remove()
	s.place = nil
	if s.floating && x.end() == w.tail && (w.first == nil || w.first.blob == nil) { // Nothing comes after it.
		w.tail = x.off
	}
}

// admitLocked implements output.
func (w *FileWriter) admitLocked(b *Blob) (bool, error) {
	switch {
	case b.slot.off >= 0:
	case !b.slot.queued: // It has lost its place, and does not get another before it is sealed.
		return true, b.openSpool()
	default:
		return w.standByLocked(b)
	}
	b.inPlace = true
	if b.spool == nil {
		return true, nil
	}
	// These bytes were spooled before the blob's turn came.
	err := moveRange(w.file, b.slot.off+b.head, b.spool, b.head, b.n)
	return true, errors.Join(err, b.closeSpool())
}

// write implements output.
func (w *FileWriter) write(_ context.Context, b *Blob, p []byte) error {
	_, err := w.file.WriteAt(p, b.slot.off+b.head+b.n)
	return err
}

// frame implements output.
func (w *FileWriter) frame(_ context.Context, b *Blob, header, pad []byte) error {
	return writeAround(w.file, b.slot.off, header, b.n, pad)
}

// completeLocked implements output.
func (w *FileWriter) completeLocked(b *Blob, e *Entry) {
	s := b.slot
	switch {
	case !b.inPlace:
	case s.place == nil: // The end of the archive is known again.
		w.occupyLocked(e, s.off)
	default:
		e.place, s.place = s.place, nil
		e.place.fill(e)
		w.shrinkLocked(e)
		w.written = max(w.written, e.place.end())
	}
}

// shrinkLocked gives back the excess of a place with a guessed size. If something
// follows already, that leaves a gap, which Seal closes.
func (w *FileWriter) shrinkLocked(e *Entry) {
	last := e.place.end() == w.tail && (w.first == nil || w.first.blob == nil)
	e.place.span = e.span
	if last {
		w.tail = e.place.end()
	}
}

// evict implements output.
func (w *FileWriter) evict(b *Blob) error {
	from := b.slot.off + b.head
	if err := moveRange(b.spool, b.head, w.file, from, b.n); err != nil {
		return err
	}
	punch(w.file, from, b.n)
	return nil
}

func (w *FileWriter) deliverLocked(context.Context, *Entry) error { return nil }

// Close implements Writer. The file ends with the archive.
func (w *FileWriter) Close(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.err
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = w.closeLocked()
	}
	w.discardLocked(os.ErrClosed)
	return err
}

func (w *FileWriter) closeLocked() error {
	if w.writingLocked() { // It would go on behind the end.
		return ErrBusy
	}
	end := make([]byte, 2*blockSize)
	if _, err := w.file.WriteAt(end, w.sealed); err != nil {
		return err
	}
	return w.file.Truncate(w.sealed + int64(len(end)))
}

// writingLocked reports whether a blob has a place and is not complete.
func (w *FileWriter) writingLocked() bool {
	if s := w.openLocked(); s != nil && s.blob != nil {
		return true
	}
	for x := w.extents.first; x != nil; x = x.next {
		if x.slot != nil && x.slot.blob != nil {
			return true
		}
	}
	return false
}

// Sealed implements Writer.
func (w *FileWriter) Sealed() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sealed
}

// Abort implements Writer. The file keeps all bytes written.
func (w *FileWriter) Abort() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.discardLocked(os.ErrClosed)
}
