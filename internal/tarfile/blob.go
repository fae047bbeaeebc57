package tarfile

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// Blob is an entry that is being written. Its methods must not be called
// concurrently, except for SourceWaits. It ends with Finish or Abort.
type Blob struct {
	q       *queue
	slot    *Slot
	header  *tar.Header // may be nil before Finish
	name    string      // of the entry, once it is complete
	head    int64       // bytes that are left for the header
	size    int64       // announced, -1 if unknown
	guess   int64       // the most that its place holds, 0 if that is not a guess
	n       int64       // content written so far
	inPlace bool        // content goes to its place, not to spool
	sent    bool        // part of it is on a stream
	spool   *local.File
	source  waits
	origin  place
}

// From says, before anything is written, that the content is also in a file at an offset. A stream
// that is a Copier may copy it from there.
func (b *Blob) From(file io.ReaderAt, off int64) { b.origin = place{file, off} }

// SourceWaits tells whether the data that comes next is being waited for. While
// the source of the first blob in line is slow, blobs behind it use the time and
// are spooled; otherwise they wait, because spooling costs a second write.
func (b *Blob) SourceWaits(waits bool) { b.source.set(waits, time.Now()) }

// Write adds content. It blocks until the blob's turn comes, or until time would
// be lost by waiting for it. If ctx ends while part of p is on a stream, that
// cannot be completed any more.
func (b *Blob) Write(ctx context.Context, p []byte) error {
	if b.size >= 0 && b.n+int64(len(p)) > b.size {
		return fmt.Errorf("%w: more than the %d bytes announced", ErrSize, b.size)
	}
	if b.guess > 0 && b.n+int64(len(p)) > b.guess {
		if err := b.outgrow(); err != nil {
			return err
		}
	}
	if err := b.admit(ctx); err != nil {
		return err
	}
	var err error
	if b.inPlace {
		err = b.q.out.write(ctx, b, p)
	} else {
		_, err = b.spool.WriteAt(p, b.head+b.n)
	}
	if err != nil {
		return err
	}
	b.n += int64(len(p))
	return nil
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
		b.q.mu.Lock()
		ready, err := b.admitLocked()
		changed := b.q.changed
		b.q.mu.Unlock()
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
func (b *Blob) admitAtOnce() error {
	b.q.mu.Lock()
	defer b.q.mu.Unlock()
	ready, err := b.admitLocked()
	if !ready && err == nil {
		err = b.openSpool()
	}
	return err
}

func (b *Blob) admitLocked() (bool, error) {
	if b.q.err != nil {
		return false, b.q.err
	}
	if b.inPlace {
		return true, nil
	}
	return b.q.out.admitLocked(b)
}

func (b *Blob) openSpool() error {
	if b.spool != nil {
		return nil
	}
	f, err := spool.Create(b.q.spoolDir)
	b.spool = f
	return err
}

func (b *Blob) closeSpool() error {
	if b.spool == nil {
		return nil
	}
	err := b.spool.Close()
	b.spool = nil
	return err
}

// Finish completes the blob under the given header. It fills in the size. It
// does not wait for the blob's turn. The blob is part of the archive when the
// Entry is sealed. If it fails, the blob is aborted.
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
	blocks, err := encodeHeader(header, b.n)
	if err != nil {
		return nil, err
	}
	if int64(len(blocks)) != b.head {
		return nil, fmt.Errorf("describing %s: the header takes %d bytes instead of the %d left for it", header.Name, len(blocks), b.head)
	}
	b.name = header.Name
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := b.admitAtOnce(); err != nil {
			return nil, err
		}
		if err := b.writeFrame(ctx, blocks); err != nil {
			return nil, err
		}
		if e, err := b.complete(ctx); e != nil || err != nil {
			return e, err
		}
	}
}

// writeFrame writes the header before and the padding after the content.
func (b *Blob) writeFrame(ctx context.Context, header []byte) error {
	pad := zeros[:padding(b.n)]
	if b.inPlace {
		return b.q.out.frame(ctx, b, header, pad)
	}
	return writeAround(b.spool, 0, header, b.n, pad)
}

// writeAround writes the bytes before and after n bytes of content.
func writeAround(w io.WriterAt, off int64, header []byte, n int64, pad []byte) error {
	if _, err := w.WriteAt(header, off); err != nil {
		return err
	}
	if len(pad) == 0 {
		return nil
	}
	_, err := w.WriteAt(pad, off+int64(len(header))+n)
	return err
}

// complete hands the blob over. It returns nothing if the blob was spooled and
// has been given its place just now.
func (b *Blob) complete(ctx context.Context) (*Entry, error) {
	q := b.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return nil, q.err
	}
	if b.slot.off >= 0 && !b.inPlace {
		return nil, nil
	}
	e := &Entry{name: b.name, size: b.n, span: spanOf(b.head, b.n), slot: b.slot, spool: b.spool, origin: b.origin}
	b.spool = nil
	b.slot.size = b.n
	b.slot.blob = nil
	b.slot.entry = e
	q.live[e] = struct{}{}
	q.out.completeLocked(b, e)
	if err := q.advanceLocked(); err != nil {
		return nil, err
	}
	return e, q.out.deliverLocked(ctx, e)
}

// Sent reports whether part of the blob is on a stream already, and cannot be
// taken back.
func (b *Blob) Sent() bool { return b.sent }

// Spooled reports whether content of the blob, which must not be finished, is in a
// temporary file.
func (b *Blob) Spooled() bool { return b.spool != nil }

// Abort gives the blob up. On a file its range is used again; a stream that has
// seen part of it cannot be completed any more. It does nothing after Finish.
func (b *Blob) Abort() {
	q := b.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if b.slot.blob != b {
		return
	}
	b.slot.blob = nil
	if b.sent {
		_ = q.failLocked(errors.New("the archive was cut off inside a blob"))
	}
	_ = b.closeSpool() // Unnamed and unwanted: nothing can be lost.
	if b.slot.floating {
		b.slot.dropLocked()
	}
	_ = q.advanceLocked() // A failure is kept in q.err.
}
