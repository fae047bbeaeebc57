package tarfile

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
)

// magicOffset is where the block of a header says that it is one.
const magicOffset = 257

var ustar = []byte("ustar")

// Rest is a part that looks like an entry behind the end of an archive. Its header may
// be a lie.
type Rest struct {
	Name   string
	Offset int64 // of the header, in bytes
	Size   int64 // of the content, which is there in full
}

// withHoles knows its holes.
type withHoles interface {
	// NextData returns where data, not a hole, begins, from an offset on.
	NextData(off int64) int64
}

// Rests calls each for parts that look like an entry of a regular file with a header
// of one block, in the bytes of r from one offset, a multiple of 512, to another, in
// their order. If each returns true, it goes on behind the entry; else behind its
// header. Unreadable parts are skipped. It ends with the first error, also that of
// ctx.
func Rests(ctx context.Context, r io.ReaderAt, from, to int64, each func(Rest) (bool, error)) error {
	buf := make([]byte, maxWindow)
	for from+blockSize <= to {
		if err := ctx.Err(); err != nil {
			return err
		}
		if f, ok := r.(withHoles); ok { // There are no headers in holes.
			if data := min(f.NextData(from), to) / blockSize * blockSize; data > from {
				from = data
				continue
			}
		}
		window := buf[:min(int64(len(buf)), (to-from)/blockSize*blockSize)]
		n, err := r.ReadAt(window, from)
		if n < blockSize {
			if err == io.EOF { // Somebody has cut it: there is nothing.
				return nil
			}
			from += int64(len(window))
			continue
		}
		next := from + int64(n)/blockSize*blockSize
		for off := from; off < next; off += blockSize {
			rest, ok := restAt(buf[off-from:][:blockSize], off, to)
			if !ok {
				continue
			}
			taken, err := each(rest)
			if err != nil {
				return err
			}
			if taken {
				next = off + spanOf(blockSize, rest.Size)
				break
			}
		}
		from = next
	}
	return nil
}

// restAt reads a block that may be a header.
func restAt(block []byte, off, to int64) (Rest, bool) {
	if !bytes.Equal(block[magicOffset:][:len(ustar)], ustar) {
		return Rest{}, false
	}
	h, err := tar.NewReader(bytes.NewReader(block)).Next()
	if err != nil || h.Typeflag != tar.TypeReg || h.Size < 0 || h.Size > to-off-blockSize {
		return Rest{}, false
	}
	return Rest{Name: h.Name, Offset: off, Size: h.Size}, spanOf(blockSize, h.Size) <= to-off
}

// FrameIs reports whether an entry has the header that a Writer would give it, and the
// zeros behind its content. An unreadable one has neither.
func (x Rest) FrameIs(r io.ReaderAt, header *tar.Header) (bool, error) {
	want, err := encodeHeader(header, x.Size)
	if err != nil || len(want) != blockSize {
		return false, err
	}
	got := make([]byte, blockSize)
	if n, _ := r.ReadAt(got, x.Offset); n < len(got) || !bytes.Equal(got, want) {
		return false, nil
	}
	end := x.Offset + blockSize + x.Size
	pad := got[:x.Offset+x.Span()-end]
	if n, _ := r.ReadAt(pad, end); n < len(pad) {
		return false, nil
	}
	return len(bytes.Trim(pad, "\x00")) == 0, nil
}

// Span returns how many bytes the entry takes.
func (x Rest) Span() int64 { return spanOf(blockSize, x.Size) }

// Content returns the content of the entry.
func (x Rest) Content(r io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(r, x.Offset+blockSize, x.Size)
}
