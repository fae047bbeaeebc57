package inflate

import (
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// Flags of a member header.
const (
	flagHeaderCRC = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
)

// maxString is the longest name or comment, with its final zero, that is
// accepted, as in compress/gzip.
const maxString = 512

// readFull reads into p, and reports whether the input had that much. At
// its very end the error is io.EOF, in the middle of p io.ErrUnexpectedEOF.
func (d *decoder) readFull(p []byte) bool {
	for n := 0; n < len(p); {
		k := d.takeBytes(p[n:])
		if k == 0 {
			d.err = d.input.err
			if n > 0 {
				d.short()
			}
			return false
		}
		n += k
	}
	return true
}

// memberHeader reads the header of a member. The end of the input in its
// place is the end of the stream, and d.err is then io.EOF.
func (d *decoder) memberHeader() {
	var h header
	if !d.readFull(h.buf[:10]) {
		return
	}
	if h.buf[0] != 0x1f || h.buf[1] != 0x8b || h.buf[2] != 8 {
		d.badHeader("not a gzip header")
		return
	}
	flags := h.buf[3]
	h.sum = crc32.ChecksumIEEE(h.buf[:10])
	if !d.headerFields(flags, &h) {
		if d.err == io.EOF {
			d.err = io.ErrUnexpectedEOF
		}
		return
	}
	d.state = atBlock
	d.start, d.summed = d.op, d.op
	d.sum, d.size = 0, 0
}

type header struct {
	sum uint32
	buf [maxString]byte
}

func (d *decoder) headerFields(flags byte, h *header) bool {
	if flags&flagExtra != 0 {
		if !d.readFull(h.buf[:2]) {
			return false
		}
		h.sum = crc32.Update(h.sum, crc32.IEEETable, h.buf[:2])
		for n := int(binary.LittleEndian.Uint16(h.buf[:2])); n > 0; {
			p := h.buf[:min(n, len(h.buf))]
			if !d.readFull(p) {
				return false
			}
			h.sum = crc32.Update(h.sum, crc32.IEEETable, p)
			n -= len(p)
		}
	}
	if flags&flagName != 0 && !d.headerString(h) {
		return false
	}
	if flags&flagComment != 0 && !d.headerString(h) {
		return false
	}
	if flags&flagHeaderCRC != 0 {
		if !d.readFull(h.buf[:2]) {
			return false
		}
		if binary.LittleEndian.Uint16(h.buf[:2]) != uint16(h.sum) {
			d.badHeader("header checksum mismatch")
			return false
		}
	}
	return true
}

// headerString skips a string that ends with a zero.
func (d *decoder) headerString(h *header) bool {
	for i := range h.buf {
		if !d.readFull(h.buf[i : i+1]) {
			return false
		}
		if h.buf[i] == 0 {
			h.sum = crc32.Update(h.sum, crc32.IEEETable, h.buf[:i+1])
			return true
		}
	}
	d.badHeader("name or comment is too long")
	return false
}

func (d *decoder) badHeader(reason string) {
	d.err = &CorruptError{Offset: d.offset(), Reason: reason, Err: gzip.ErrHeader}
}

// memberTrailer checks the checksum and length of a member.
func (d *decoder) memberTrailer() bool {
	d.summarize()
	d.align()
	var trailer [8]byte
	if !d.readFull(trailer[:]) {
		if d.err == io.EOF {
			d.err = io.ErrUnexpectedEOF
		}
		return false
	}
	reason := ""
	switch {
	case binary.LittleEndian.Uint32(trailer[:4]) != d.sum:
		reason = "checksum mismatch"
	case binary.LittleEndian.Uint32(trailer[4:]) != d.size:
		reason = "length mismatch"
	default:
		return true
	}
	d.err = &CorruptError{Offset: d.offset(), Reason: reason, Err: gzip.ErrChecksum}
	return false
}
