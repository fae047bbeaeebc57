// Package tarfile is the tar container: it writes the entries of an archive
// concurrently to a file or one after the other to a stream, and gives random
// access to the entries of an archive that is read. It knows names, sizes and
// offsets; it knows nothing of images.
package tarfile

import (
	"archive/tar"
	"context"
	"errors"
	"io"

	"github.com/dockerarchive/dockerarchive/internal/local"
)

// Writer writes a tar archive whose larger entries, the blobs, may be written
// at the same time and finish in any order. A FileWriter writes to a file, a
// StreamWriter to a stream.
//
// The order of the archive is that of the Slots, and of the entries given to
// Seal. Sealed entries are final; others may still be moved or dropped.
//
// All methods may be called concurrently. Data written by a Writer that is
// neither sealed nor closed is not an archive.
type Writer interface {
	// Record has a listing know the entries as they become final. It must be called
	// before anything else.
	Record(l *Listing)

	// Reserve appends a slot to the order of the archive. name is that of the entry
	// that will come, or any other whose header takes as many blocks (see
	// HeaderSpan). size is that of its content in bytes, -1 if it is not known; it
	// is only a hint.
	Reserve(name string, size int64) *Slot

	// Create starts a blob of the given size in bytes, -1 if that is unknown, in
	// a slot, or wherever it fits if slot is nil or released. The header may be
	// nil if the blob's name is not known yet: then it must turn out to be one
	// whose header takes as many blocks as the slot's name does, one block
	// without a slot. On a stream such a blob is spooled. The error is
	// ErrTooLarge for a size that no archive can hold.
	Create(slot *Slot, header *tar.Header, size int64) (*Blob, error)

	// Seal makes entries, in their order, the next of the archive, followed by
	// small entries that are written from memory. Those that were sealed before
	// are left where they are. slot is the place that was reserved for the small
	// entries, or nil.
	Seal(ctx context.Context, slot *Slot, entries []*Entry, small Smalls) error

	// Drop gives up an entry that will never be sealed.
	Drop(e *Entry)

	// Sealed returns the offset up to which everything is final: from the start of the file or, on a
	// stream, from the first byte that this Writer writes.
	Sealed() int64

	// Close writes the end-of-archive marker. Blobs that were not sealed are not
	// part of the archive, except on a stream, where they cannot be taken back. It
	// returns ErrBusy while a blob is being written to its place. After any result,
	// nothing works.
	Close(ctx context.Context) error

	// Abort releases everything that the Writer holds. Every method fails from then
	// on, with os.ErrClosed, including those that are waiting.
	Abort()
}

// File has the methods of a regular file that a FileWriter needs; an *os.File is
// one.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
}

// Entry is a complete blob that is not sealed yet.
type Entry struct {
	name    string
	size    int64       // of the content in bytes
	span    int64       // bytes that header, content and padding take
	slot    *Slot       // the slot that it fills
	place   *extent     // where it is in a file; nil elsewhere
	spool   *local.File // nil if the entry is in the archive
	sending bool        // from spool to a stream: the spool is in use
	origin  place       // of the content, for a stream
}

var (
	// ErrBusy is returned if the data would have to go where a blob is being, or is
	// going to be, written.
	ErrBusy = errors.New("blobs are being written")

	// ErrSize is returned, wrapped, when a blob is not as long as announced.
	ErrSize = errors.New("unexpected size")
)
