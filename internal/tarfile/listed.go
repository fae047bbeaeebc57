package tarfile

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
)

// places are the parts of a listing that have not been checked yet.
type places struct {
	seen  []atomic.Bool // of the entries of the index: the header matches the listing
	notes []byte
	// tail has the bytes of the archive from tailStart on: its documents, most likely, read at once.
	tail      []byte
	tailStart int64
}

const (
	// listingGuess is how much of the end of an archive is read to look for a listing.
	listingGuess = 64 << 10
	// maxTail is how many bytes of the end are kept because its last entries are likely to be read,
	// and documents is the largest number of these.
	maxTail   = 1 << 20
	documents = 4
)

// listedIndex makes an index of the listing that the archive ends with. It returns nil if there is
// none, or it cannot be right: it is a hint, and the headers decide.
func listedIndex(r io.ReaderAt, size int64) *Index {
	const marker = 2 * blockSize
	end, ok := readEnd(r, max(0, size-listingGuess), size)
	if !ok || len(end) < marker+3*blockSize || len(bytes.Trim(end[len(end)-marker:], "\x00")) > 0 {
		return nil
	}
	length, sum, ok := parseFooter(end[len(end)-marker-blockSize:][:blockSize])
	content := length + padding(length) + blockSize
	start := size - marker - content - blockSize
	if !ok || start < 0 {
		return nil
	}
	if size-start > int64(len(end)) {
		if end, ok = readEnd(r, start, size); !ok {
			return nil
		}
	}
	own := end[int64(len(end))-(size-start):]
	self := listed{name: ListingName, size: content}
	data := own[blockSize:][:length]
	if !self.isAt(own[:blockSize]) || sha256.Sum256(data) != [sha256.Size]byte(sum) {
		return nil
	}
	entries, notes, ok := decodeListing(data)
	if !ok {
		return nil
	}
	x := newListed(r, size, append(entries, self), notes)
	if x == nil || x.entries[len(entries)].start != start {
		return nil // It is of another archive, or entries have come between.
	}
	x.listed.seen[len(entries)].Store(true)
	if !x.readTail(end) || !x.committed() {
		return nil
	}
	return x
}

// readEnd returns the bytes of the archive between two offsets.
func readEnd(r io.ReaderAt, from, to int64) ([]byte, bool) {
	p := make([]byte, max(0, to-from))
	n, _ := r.ReadAt(p, from) // The reader of the headers reports the error.
	return p, n == len(p)
}

// newListed returns an index of entries that follow one another. It returns nil if the archive has
// no room for them.
func newListed(r io.ReaderAt, size int64, entries []listed, notes []byte) *Index {
	x := &Index{r: r, size: size, byName: make(map[string]int32, len(entries)), entries: make([]record, len(entries)), terminated: true}
	for i, e := range entries {
		kind := byte(tar.TypeReg)
		if e.dir {
			kind = tar.TypeDir
		}
		x.entries[i] = record{name: e.name, start: x.end, offset: x.end + blockSize, size: e.size, kind: kind}
		x.byName[e.name] = int32(i)
		if x.end += spanOf(blockSize, e.size); x.end > size {
			return nil
		}
	}
	x.listed = &places{seen: make([]atomic.Bool, len(entries)), notes: bytes.Clone(notes)}
	return x
}

// readTail reads the last entries at once, as far as they are small, and looks at their headers now:
// another process that changes the archive overwrites these. It reports whether they match the
// listing. end has the bytes at the end that have been read already.
func (x *Index) readTail(end []byte) bool {
	last := len(x.entries) - 1
	first := max(0, last-documents)
	cached := first
	for cached < last && x.size-x.entries[cached].start > maxTail {
		cached++
	}
	from, have := x.entries[cached].start, x.size-int64(len(end))
	tail := make([]byte, x.size-from)
	if before := have - from; before > 0 {
		if n, _ := x.r.ReadAt(tail[:before], from); n < int(before) { // The reader of the headers reports the error.
			return false
		}
		copy(tail[before:], end)
	} else {
		copy(tail, end[-before:])
	}
	x.listed.tail, x.listed.tailStart = tail, from
	block := make([]byte, blockSize)
	for i := first; i < last; i++ {
		if n, _ := x.readAt(block, x.entries[i].start); n < len(block) || x.see(i, block) != nil {
			return false
		}
	}
	return true
}

// committed reports whether the last change of an archive that has grown was completed. The new
// entries, and their listing, are there before; the overwritten header of the old tables makes them
// the archive's.
func (x *Index) committed() bool {
	for i, e := range slices.Backward(x.entries) {
		if strings.HasPrefix(e.name, superseded) {
			block := make([]byte, blockSize)
			n, _ := x.readAt(block, e.start)
			return n == len(block) && x.see(i, block) == nil
		}
	}
	return true
}

// isAt reports whether a block is the header of the entry.
func (e listed) isAt(block []byte) bool {
	var hdr tar.Header
	if !plain(block, &hdr) {
		other, err := tar.NewReader(bytes.NewReader(block)).Next()
		if err != nil || isSparse(other) {
			return false
		}
		hdr = *other
	}
	name, err := clean(hdr.Name)
	kind := byte(tar.TypeReg)
	if e.dir {
		kind = tar.TypeDir
	}
	return err == nil && name == e.name && hdr.Size == e.size && hdr.Typeflag == kind
}

// readerOf returns a reader for the content of a file: the archive itself, once the header has been
// seen where the listing says, else one that returns the error.
func (x *Index) readerOf(f Member) io.ReaderAt {
	if x.listed == nil {
		return x.r
	}
	i, known := x.at(f.Offset)
	if !known || x.listed.seen[i].Load() {
		return x.r
	}
	block := make([]byte, blockSize)
	if n, err := x.readAt(block, x.entries[i].start); n < len(block) {
		return failing{eof(err)}
	}
	if err := x.see(i, block); err != nil {
		return failing{err}
	}
	return x.r
}

// readListed reads a file whole, with its header if that has not been seen.
func (x *Index) readListed(f Member) ([]byte, error) {
	i, known := x.at(f.Offset)
	if !known {
		return nil, errNotExist(f.Name)
	}
	data := make([]byte, blockSize+f.Size)
	if n, err := x.readAt(data, x.entries[i].start); n < len(data) {
		return nil, eof(err)
	}
	if !x.listed.seen[i].Load() { // Nobody reads it again: a change of the archive may overwrite it.
		if err := x.see(i, data[:blockSize]); err != nil {
			return nil, err
		}
	}
	return data[blockSize:], nil
}

// at returns which entry has its content at an offset.
func (x *Index) at(offset int64) (int, bool) {
	return slices.BinarySearchFunc(x.entries, offset, func(e record, offset int64) int { return int(min(1, max(-1, e.offset-offset))) })
}

// readAt reads bytes that may have been read already.
func (x *Index) readAt(p []byte, off int64) (int, error) {
	if from := off - x.listed.tailStart; x.listed.tail != nil && from >= 0 && from+int64(len(p)) <= int64(len(x.listed.tail)) {
		return copy(p, x.listed.tail[from:]), nil
	}
	return x.r.ReadAt(p, off)
}

// see compares the header of an entry with the listing.
func (x *Index) see(i int, block []byte) error {
	e := &x.entries[i]
	if !(listed{name: e.name, size: e.size, dir: e.kind == tar.TypeDir}).isAt(block) {
		return errOtherHeader(e)
	}
	x.listed.seen[i].Store(true)
	return nil
}

func errOtherHeader(e *record) error {
	return damaged("%s says that %s, of %d bytes, begins at offset %d, and there is something else", ListingName, readable(e.name), e.size, e.start)
}

// failing is content that cannot be read.
type failing struct{ err error }

// ReadAt implements io.ReaderAt.
func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// Notes returns the notes in the listing for readers of the archive's images, nil if there is no
// listing. They are a hint.
func (x *Index) Notes() []byte {
	if x.listed == nil {
		return nil
	}
	return x.listed.notes
}

// CheckListing reads all headers of an archive that has a listing. It returns an error that wraps
// errdef.ErrDamaged if they differ from the listing: other programs see something else then.
func (x *Index) CheckListing(ctx context.Context) error {
	if x.listed == nil {
		return nil
	}
	walked, err := newIndex(ctx, x.r, x.size, maxEntries, maxNameBytes)
	if err != nil {
		return fmt.Errorf("%s does not tell that the headers cannot be read: %w", ListingName, err)
	}
	for i := range min(len(walked.entries), len(x.entries)) {
		if walked.entries[i] != x.entries[i] {
			return errOtherHeader(&x.entries[i])
		}
	}
	if len(walked.entries) != len(x.entries) || walked.end != x.end || walked.trailing != 0 || !walked.terminated {
		return damaged("%s lists %d entries, and there are %d", ListingName, len(x.entries), len(walked.entries))
	}
	return nil
}
