package tarfile

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// ErrSize is returned, wrapped, when a blob is not as long as announced.
var ErrSize = errors.New("unexpected size")

// Blob is an entry that is being written. Its methods must not be called
// concurrently, except for SourceWaits. It ends with Finish or Abort.
type Blob struct {
	w       *Writer
	slot    *Slot
	header  *tar.Header // may be nil before Finish
	size    int64       // announced, -1 if unknown
	n       int64       // content written so far
	inPlace bool        // content goes to its place, not to spool
	spool   *os.File
	pace    pace
}

// Create starts a blob of the given size in bytes, -1 if that is unknown, in a
// slot, or wherever it fits if slot is nil or released. The header may be nil if
// the blob's name is not known yet; on a stream such a blob is spooled.
func (w *Writer) Create(slot *Slot, header *tar.Header, size int64) (*Blob, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	if slot != nil && slot.blob == nil && slot.entry == nil && slot.off >= 0 && slot.size >= 0 && slot.size != size {
		slot.releaseLocked() // It was made to measure, for a blob that failed or was announced wrongly.
	}
	if slot == nil || slot.released {
		slot = &Slot{w: w, size: -1, off: -1, floating: true}
		w.queue = append(w.queue, slot)
	}
	if slot.blob != nil || slot.entry != nil {
		return nil, errors.New("internal error: two blobs for one slot")
	}
	b := &Blob{w: w, slot: slot, header: header, size: size}
	slot.blob = b
	if slot.off < 0 {
		slot.size = size
	}
	return b, w.advanceLocked()
}

// SourceWaits tells whether the data that comes next is being waited for. While
// the source of the first blob in line is slow, blobs behind it use the time and
// are spooled; otherwise they wait, because spooling costs a second write.
func (b *Blob) SourceWaits(waits bool) { b.pace.set(waits, time.Now()) }

// Write adds content. It blocks until the blob's turn comes, or until time would
// be lost by waiting for it.
func (b *Blob) Write(ctx context.Context, p []byte) error {
	if b.size >= 0 && b.n+int64(len(p)) > b.size {
		return fmt.Errorf("%w: more than the %d bytes announced", ErrSize, b.size)
	}
	if err := b.admit(ctx); err != nil {
		return err
	}
	var err error
	switch {
	case !b.inPlace:
		_, err = b.spool.WriteAt(p, blockSize+b.n)
	case b.w.file != nil:
		_, err = b.w.file.WriteAt(p, b.slot.off+blockSize+b.n)
	default:
		err = b.send(ctx, p)
	}
	if err != nil {
		return err
	}
	b.n += int64(len(p))
	return nil
}

// send writes to the stream, which is of no use any more if that fails.
func (b *Blob) send(ctx context.Context, p []byte) error {
	defer b.w.stream.interruptAfter(ctx)()
	_, err := b.w.stream.Write(p)
	if err != nil {
		b.w.fail(err)
	}
	return err
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.failLocked(err)
}

// patience is how long a blob out of turn waits before it looks again whether
// the one in turn has become slow.
const patience = 20 * time.Millisecond

// admit returns when content may be written, in place or to the spool.
func (b *Blob) admit(ctx context.Context) error {
	if b.inPlace {
		return ctx.Err()
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		b.w.mu.Lock()
		ready, err := b.admitLocked(ctx)
		changed := b.w.changed
		b.w.mu.Unlock()
		if ready || err != nil {
			return err
		}
		timer := time.NewTimer(patience)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// admitAtOnce is admit for a blob that is complete: it has nothing to gain by
// waiting.
func (b *Blob) admitAtOnce(ctx context.Context) error {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	ready, err := b.admitLocked(ctx)
	if !ready && err == nil {
		err = b.openSpool()
	}
	return err
}

func (b *Blob) admitLocked(ctx context.Context) (bool, error) {
	w := b.w
	switch {
	case w.err != nil:
		return false, w.err
	case b.inPlace:
		return true, nil
	case w.file != nil && b.slot.off >= 0:
		b.inPlace = true
		return true, b.unspool()
	case w.file == nil && b.slot.turnLocked() && b.size >= 0 && b.header != nil && b.spool == nil:
		b.inPlace = true
		return true, b.startStreamLocked(ctx)
	case b.slot.turnLocked(), len(w.queue) == 0:
	default:
		if first := w.queue[0].blob; first != nil && !first.pace.slow(time.Now()) {
			return false, nil
		}
	}
	return true, b.openSpool()
}

func (b *Blob) startStreamLocked(ctx context.Context) error {
	header, err := encodeHeader(b.header, b.size)
	if err != nil {
		return err
	}
	defer b.w.stream.interruptAfter(ctx)()
	if _, err := b.w.stream.Write(header); err != nil {
		return b.w.failLocked(err)
	}
	return nil
}

func (b *Blob) openSpool() error {
	if b.spool != nil {
		return nil
	}
	f, err := spool.Create(b.w.spoolDir)
	b.spool = f
	return err
}

// unspool moves what was spooled before the blob's turn came to its place.
func (b *Blob) unspool() error {
	if b.spool == nil {
		return nil
	}
	err := moveRange(b.w.file, b.slot.off+blockSize, b.spool, blockSize, b.n)
	return errors.Join(err, b.closeSpool())
}

func (b *Blob) closeSpool() error {
	if b.spool == nil {
		return nil
	}
	err := b.spool.Close()
	b.spool = nil
	return err
}

// Finish completes the blob under the given header, whose size is filled in. It
// does not wait for the blob's turn. The blob is part of the archive when the
// Entry is sealed.
func (b *Blob) Finish(ctx context.Context, header *tar.Header) (*Entry, error) {
	e, err := b.finish(ctx, header)
	if err != nil {
		b.Abort()
		return nil, err
	}
	return e, nil
}

func (b *Blob) finish(ctx context.Context, header *tar.Header) (*Entry, error) {
	if b.size >= 0 && b.n != b.size {
		return nil, fmt.Errorf("%w: %d bytes instead of the %d announced: %w", ErrSize, b.n, b.size, io.ErrUnexpectedEOF)
	}
	block, err := encodeHeader(header, b.n)
	if err != nil {
		return nil, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := b.admitAtOnce(ctx); err != nil {
			return nil, err
		}
		if err := b.writeFrame(ctx, block); err != nil {
			return nil, err
		}
		if e, err := b.complete(ctx); e != nil || err != nil {
			return e, err
		}
	}
}

// complete hands the blob over. It returns nothing if the blob was spooled and
// has been given its place just now.
func (b *Blob) complete(ctx context.Context) (*Entry, error) {
	w := b.w
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.stream.interruptAfter(ctx)() // Entries that have waited for this one may be sent.
	if w.err != nil {
		return nil, w.err
	}
	if w.file != nil && b.slot.off >= 0 && !b.inPlace {
		return nil, nil
	}
	e := &Entry{span: span(b.n), off: -1, spool: b.spool}
	if b.inPlace {
		e.off = b.slot.off
	}
	if b.slot.size < 0 { // The end of the archive is known again.
		b.slot.size = b.n
		if w.file != nil && b.inPlace {
			w.tail = b.slot.off + e.span
		}
	}
	b.spool = nil
	b.slot.blob = nil
	b.slot.entry = e
	w.live[e] = struct{}{}
	delete(w.reserved, b.slot)
	return e, w.advanceLocked()
}

// writeFrame writes the header before and the padding after the content.
func (b *Blob) writeFrame(ctx context.Context, block []byte) error {
	pad := zeros[:padding(b.n)]
	var out io.WriterAt = b.spool
	off := int64(0)
	if b.inPlace {
		if b.w.file == nil { // The header has been sent.
			return b.send(ctx, pad)
		}
		out, off = b.w.file, b.slot.off
	}
	if _, err := out.WriteAt(block, off); err != nil {
		return err
	}
	if len(pad) > 0 {
		if _, err := out.WriteAt(pad, off+blockSize+b.n); err != nil {
			return err
		}
	}
	return nil
}

// Sent reports whether part of the blob is on a stream already, from which it
// cannot be taken back.
func (b *Blob) Sent() bool { return b.w.file == nil && b.inPlace }

// Abort gives the blob up. On a file its range is used again; a stream that has
// seen part of it cannot be completed any more. It does nothing after Finish.
func (b *Blob) Abort() {
	w := b.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if b.slot.blob != b {
		return
	}
	b.slot.blob = nil
	if b.inPlace && w.file == nil {
		_ = w.failLocked(errors.New("the archive was cut off inside a blob"))
	}
	_ = b.closeSpool() // Unnamed and unwanted: nothing can be lost.
	if b.slot.floating {
		b.slot.dropLocked()
	}
	_ = w.advanceLocked() // A failure is kept in w.err.
}
