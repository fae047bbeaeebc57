package tarfile

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
)

const blockSize = 512

// maxSize is the largest content that an entry may have. It leaves room for headers,
// padding and sums of a few sizes in 63 bits, and is a million times the size of any
// disk.
const maxSize = 1 << 60

// maxOctalSize is the largest size that a ustar header holds in its 11 octal digits.
const maxOctalSize = 1<<33 - 1

// ErrTooLarge is returned, wrapped, for a size that no archive can hold.
var ErrTooLarge = errors.New("too large for an archive")

var zeros [blockSize]byte

// padding returns the bytes between the end of content and the next entry.
func padding(size int64) int64 { return -size & (blockSize - 1) }

// HeaderSpan returns the bytes that the header of a regular file, or of a
// directory if the name ends with a slash, takes in an archive: one block, or
// more for names that only an extended (PAX) header can hold. It depends on the
// name alone, so that a place can be kept free for the header of a file whose
// size is not known yet.
func HeaderSpan(name string) (int64, error) {
	block, err := encodeHeader(headerFor(name), 0)
	return int64(len(block)), err
}

// Span returns the bytes that an entry takes in an archive: its header,
// content of the given size and padding. A size that is negative (ErrSize), too
// large (ErrTooLarge), or does not fit in a header of HeaderSpan's length is an
// error.
func Span(name string, size int64) (int64, error) {
	block, err := encodeHeader(headerFor(name), size)
	if err != nil {
		return 0, err
	}
	return spanOf(int64(len(block)), size), nil
}

func headerFor(name string) *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o444}
	if strings.HasSuffix(name, "/") {
		h.Typeflag = tar.TypeDir
	}
	return h
}

// spanOf returns the bytes of an entry with a header of head bytes. size must not be
// larger than maxSize.
func spanOf(head, size int64) int64 { return head + size + padding(size) }

// encodeHeader returns the blocks that describe an entry. Their number does not depend on
// the size: they are written after the content, into a gap that was left for them. So a
// larger size than ustar can hold is written in GNU's base-256 form if the name needs no
// PAX records.
func encodeHeader(h *tar.Header, size int64) ([]byte, error) {
	if size < 0 {
		return nil, fmt.Errorf("describing %s: %w: %d bytes", h.Name, ErrSize, size)
	}
	if size > maxSize {
		return nil, fmt.Errorf("describing %s: %d bytes are %w", h.Name, size, ErrTooLarge)
	}
	header := *h
	header.Size = min(size, maxOctalSize)
	blocks, err := format(&header)
	if err != nil || size <= maxOctalSize {
		return blocks, err
	}
	header.Size = size
	if len(blocks) == blockSize {
		header.Format = tar.FormatGNU
	}
	large, err := format(&header)
	if err == nil && len(large) != len(blocks) {
		err = fmt.Errorf("describing %s: a name of %d bytes and a size of %d do not fit in one header of %d bytes: %w",
			h.Name, len(h.Name), size, len(blocks), ErrTooLarge)
	}
	return large, err
}

// headerLen returns how many bytes encodeHeader would return.
func headerLen(h *tar.Header, size int64) (int64, error) {
	header := *h
	if header.Size = size; isPlain(&header) {
		return blockSize, nil
	}
	blocks, err := encodeHeader(h, size)
	return int64(len(blocks)), err
}

func format(h *tar.Header) ([]byte, error) {
	if isPlain(h) {
		return appendPlain(nil, h), nil
	}
	var b blockBuffer
	if err := tar.NewWriter(&b).WriteHeader(h); err != nil {
		return nil, fmt.Errorf("describing %s: %w", h.Name, err)
	}
	return b, nil
}

type blockBuffer []byte

// Write implements io.Writer.
func (b *blockBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

// Small is an entry that is written from memory.
type Small struct {
	Header *tar.Header // its size is filled in
	Data   []byte
}

// Smalls are small entries in their order, or why one cannot be made. They are made while
// they are ranged over, each time anew and alike, and not kept: an image may have tens of
// thousands. nil is none.
type Smalls iter.Seq2[Small, error]

// List returns entries that are there.
func List(small ...Small) Smalls {
	return func(yield func(Small, error) bool) {
		for _, s := range small {
			if !yield(s, nil) {
				return
			}
		}
	}
}

// All ranges over the entries.
func (s Smalls) All() iter.Seq2[Small, error] {
	if s == nil {
		return func(func(Small, error) bool) {}
	}
	return iter.Seq2[Small, error](s)
}

// smallSpan returns the bytes that entries take, or why they cannot be written.
func smallSpan(small Smalls) (span int64, err error) {
	for s, err := range small.All() {
		if err != nil {
			return 0, err
		}
		size := int64(len(s.Data))
		length, err := headerLen(s.Header, size)
		if err != nil {
			return 0, err
		}
		span += spanOf(length, size)
	}
	return span, nil
}

// smallUnit is how much of small entries is in memory as it is written.
const smallUnit = 256 << 10

// writeSmall writes entries, which take so many bytes, many at once.
func writeSmall(w io.Writer, small Smalls, span int64) error {
	if span == 0 {
		return nil
	}
	b := bufio.NewWriterSize(w, int(min(span, smallUnit)))
	for s, err := range small.All() {
		if err != nil {
			return err
		}
		header, err := encodeHeader(s.Header, int64(len(s.Data)))
		if err != nil {
			return err
		}
		for _, part := range [][]byte{header, s.Data, zeros[:padding(int64(len(s.Data)))]} {
			if _, err := b.Write(part); err != nil {
				return err
			}
		}
	}
	return b.Flush()
}
