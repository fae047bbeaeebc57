// Package tarfile is the tar container: it writes the entries of an archive
// concurrently to a file or one after the other to a stream, and gives random
// access to the entries of an archive that is read. It knows names, sizes and
// offsets; it knows nothing of images.
package tarfile

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
)

// File is what a Writer needs of a regular file; an *os.File is one.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
}

// Writer writes a tar archive whose larger entries, the blobs, may be written
// at the same time and finish in any order.
//
// On a file, a blob is written where it stays if its place is known, so its
// bytes are written once: one of known size into a range of its own, one of
// unknown size at the end of the file, behind a header that is filled in later.
// On a stream, a blob of unknown size is spooled first, because its header has
// to come before it.
//
// The order of the archive is that of the Slots, and of what Seal is given. The
// bytes before the sealed offset are final; what comes after it may still be
// moved or dropped.
//
// All methods may be called concurrently. Data written by a Writer that is
// neither sealed nor closed is not an archive.
type Writer struct {
	file     File    // nil when writing to a stream
	stream   *stream // nil when writing to a file
	spoolDir string

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever the fields below change
	queue   []*Slot       // slots whose place is not settled yet, in order
	tail    int64         // offset of the first slot in queue
	sealed  int64         // everything before this offset is final
	// In a file: the slots that have a place and no entry yet. Nothing may be
	// moved over them.
	reserved map[*Slot]struct{}
	live     map[*Entry]struct{} // entries not sealed yet
	err      error               // the first failure to write, after which nothing works any more
}

// Entry is a complete blob that is not sealed yet.
type Entry struct {
	span  int64    // bytes that header, content and padding take
	off   int64    // offset of the header in the archive, -1 while in spool
	spool *os.File // nil if the entry is in the archive
}

// ErrBusy is returned by Seal while the sealed entries would have to go where
// a blob is being, or is going to be, written.
var ErrBusy = errors.New("blobs are being written")

// NewFileWriter returns a Writer to an empty regular file. Blobs that have to
// wait for their place are kept in unnamed files in spoolDir, best the directory
// of the file.
func NewFileWriter(f File, spoolDir string) *Writer {
	return newWriter(f, nil, spoolDir)
}

// NewStreamWriter returns a Writer to a stream. Blobs of unknown size, or that
// have to wait for their turn, are kept in unnamed files in spoolDir.
func NewStreamWriter(w io.Writer, spoolDir string) *Writer {
	return newWriter(nil, newStream(w), spoolDir)
}

func newWriter(f File, stream *stream, spoolDir string) *Writer {
	return &Writer{
		file: f, stream: stream, spoolDir: spoolDir,
		changed:  make(chan struct{}),
		reserved: map[*Slot]struct{}{},
		live:     map[*Entry]struct{}{},
	}
}

// Seal makes entries, in their order, the next of the archive, followed by
// small entries that are written from memory. Entries that stand elsewhere are
// moved there, and what is in their way is moved out of it; those that were
// sealed before are left where they are. slot is the place that was reserved
// for the small entries, or nil. On a stream the entries must be complete, and
// Seal waits until what precedes the small entries has been written.
//
// It returns ErrBusy, and does nothing, if blobs that have a place but are not
// complete stand in the way.
func (w *Writer) Seal(ctx context.Context, slot *Slot, entries []*Entry, small []Small) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	blocks, err := encodeSmall(small)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if w.file == nil {
		slot, err = w.sealStreamLocked(ctx, slot, entries, blocks)
	} else {
		err = w.sealFileLocked(ctx, entries, blocks)
	}
	if err != nil {
		return err
	}
	if slot != nil {
		slot.released = true
	}
	delete(w.reserved, slot)
	return w.advanceLocked()
}

// sealStreamLocked writes blocks when their turn comes, and returns the slot that
// it took.
func (w *Writer) sealStreamLocked(ctx context.Context, slot *Slot, entries []*Entry, blocks []byte) (*Slot, error) {
	if slot == nil || slot.released {
		slot = &Slot{w: w, size: -1, off: -1, floating: true}
		if len(blocks) > 0 {
			w.queue = append(w.queue, slot)
		}
	}
	for w.err == nil && ctx.Err() == nil && w.mustWaitLocked(slot, entries, blocks) {
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		w.mu.Lock()
	}
	if err := cmp.Or(w.err, ctx.Err()); err != nil {
		if slot.floating {
			slot.dropLocked()
		}
		return slot, err
	}
	defer w.stream.interruptAfter(ctx)()
	for _, e := range entries {
		if e.spool != nil { // Its slot comes later: it was planned for others, who have brought it.
			if err := w.placeLocked(e); err != nil {
				return slot, w.failLocked(err)
			}
		}
		delete(w.live, e)
	}
	if _, err := w.stream.Write(blocks); err != nil {
		return slot, w.failLocked(err)
	}
	return slot, nil
}

// mustWaitLocked reports whether the stream is not free for what has to be sent.
// Blocks go where their slot is; entries whose turn has not come, between blobs.
func (w *Writer) mustWaitLocked(slot *Slot, entries []*Entry, blocks []byte) bool {
	if len(blocks) > 0 {
		return !slot.turnLocked()
	}
	sending := len(w.queue) > 0 && w.queue[0].blob != nil && w.queue[0].blob.inPlace
	return sending && slices.ContainsFunc(entries, func(e *Entry) bool { return e.spool != nil })
}

func (w *Writer) sealFileLocked(ctx context.Context, entries []*Entry, blocks []byte) error {
	fresh := make([]*Entry, 0, len(entries))
	for _, e := range entries {
		if _, ok := w.live[e]; ok && !slices.Contains(fresh, e) {
			fresh = append(fresh, e)
		}
	}
	end, moves := w.planLocked(fresh, int64(len(blocks)))
	for s := range w.reserved {
		if s.size < 0 && s.blob == nil {
			continue // Nothing is there yet; it gets another place below.
		}
		if len(moves) > 0 || s.off < end {
			return ErrBusy
		}
	}
	if err := w.arrangeLocked(ctx, moves, end); err != nil {
		if cancelled := ctx.Err(); cancelled != nil && errors.Is(err, cancelled) { // Between two moves, where all is well.
			w.retailLocked(w.sealed)
			return err
		}
		return w.failLocked(err)
	}
	if _, err := w.file.WriteAt(blocks, end-int64(len(blocks))); err != nil {
		return w.failLocked(err)
	}
	for _, e := range fresh {
		delete(w.live, e)
	}
	w.sealed = end
	w.retailLocked(end)
	return nil
}

// retailLocked finds out anew where the unused part of the file begins, after end.
func (w *Writer) retailLocked(end int64) {
	w.tail = w.freeLocked(end)
	if len(w.queue) > 0 && w.queue[0].blob == nil {
		w.queue[0].off = -1
	}
}

// freeLocked returns the first offset from which on the file is unused.
func (w *Writer) freeLocked(end int64) int64 {
	for e := range w.live {
		if e.spool == nil {
			end = max(end, e.off+e.span)
		}
	}
	for s := range w.reserved {
		if s.size >= 0 {
			end = max(end, s.off+span(s.size))
		}
	}
	return end
}

// Close writes the end-of-archive marker. Blobs that were not sealed are not
// part of the archive, except on a stream, where they cannot be taken back.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.stream.interruptAfter(ctx)()
	err := w.err
	if err == nil {
		err = w.closeLocked()
	}
	w.discardLocked(os.ErrClosed)
	return err
}

func (w *Writer) closeLocked() error {
	end := make([]byte, 2*blockSize)
	if w.file == nil {
		_, err := w.stream.Write(end)
		return err
	}
	for s := range w.reserved {
		if s.blob != nil { // It would go on to write behind the end.
			return ErrBusy
		}
	}
	if _, err := w.file.WriteAt(end, w.sealed); err != nil {
		return err
	}
	return w.file.Truncate(w.sealed + int64(len(end)))
}

// Abort releases what the Writer holds. Every method fails from then on,
// including those that are waiting.
func (w *Writer) Abort() {
	if w.stream != nil { // Before the lock, which is held while something is sent.
		w.stream.interrupt(os.ErrClosed)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.discardLocked(os.ErrClosed)
}

// discardLocked ends the Writer with err, unless it has failed already.
func (w *Writer) discardLocked(err error) {
	for e := range w.live {
		if e.spool != nil {
			e.spool.Close() // Unnamed and unwanted: nothing can be lost.
		}
	}
	clear(w.live)
	w.queue = nil
	_ = w.failLocked(err)
}

// failLocked records the first error and wakes everyone who waits.
func (w *Writer) failLocked(err error) error {
	if w.err == nil {
		w.err = err
	}
	w.broadcastLocked()
	return err
}

func (w *Writer) broadcastLocked() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// Drop gives up an entry that will never be sealed.
func (w *Writer) Drop(e *Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.live[e]; !ok {
		return
	}
	delete(w.live, e)
	if e.spool != nil {
		e.spool.Close()
		e.spool = nil
	}
}

// Small is an entry that is written from memory.
type Small struct {
	Header *tar.Header
	Data   []byte
}

func encodeSmall(small []Small) ([]byte, error) {
	var blocks []byte
	for _, s := range small {
		header, err := encodeHeader(s.Header, int64(len(s.Data)))
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, header...)
		blocks = append(blocks, s.Data...)
		blocks = append(blocks, zeros[:padding(int64(len(s.Data)))]...)
	}
	return blocks, nil
}

const blockSize = 512

var zeros [blockSize]byte

// padding returns the bytes between the end of content and the next entry.
func padding(size int64) int64 { return -size & (blockSize - 1) }

// span returns the bytes that an entry with content of the given size takes.
func span(size int64) int64 { return blockSize + size + padding(size) }

// maxOctalSize is the largest size that a ustar header holds in its 11 octal digits.
const maxOctalSize = 1<<33 - 1

// encodeHeader returns the single block that describes an entry. A larger size
// than ustar can hold is written in GNU's base-256 form rather than in a PAX
// record: the block is written after the content, into a gap of fixed size.
func encodeHeader(h *tar.Header, size int64) ([]byte, error) {
	header := *h
	header.Size = size
	if size > maxOctalSize {
		header.Format = tar.FormatGNU
	}
	var b blockBuffer
	if err := tar.NewWriter(&b).WriteHeader(&header); err != nil {
		return nil, fmt.Errorf("describing %s: %w", h.Name, err)
	}
	if len(b) != blockSize {
		return nil, fmt.Errorf("describing %s: the name does not fit in one tar header", h.Name)
	}
	return b, nil
}

type blockBuffer []byte

func (b *blockBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

// EntrySpan returns the bytes that an entry with content of the given size takes
// in an archive.
func EntrySpan(size int64) int64 { return span(size) }
