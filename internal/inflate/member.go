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
	h := d.scratch[:10]
	if !d.readFull(h) {
		return
	}
	if h[0] != 0x1f || h[1] != 0x8b || h[2] != 8 {
		d.badHeader("not a gzip header")
		return
	}
	d.sum = crc32.ChecksumIEEE(h)
	if !d.headerFields(h[3]) {
		if d.err == io.EOF {
			d.err = io.ErrUnexpectedEOF
		}
		return
	}
	d.state = atBlock
	d.start, d.summed = d.op, d.op
	d.sum, d.size, d.unsummed = 0, 0, false
}

// headerFields skips the optional fields, and checks the header's own
// checksum if there is one.
func (d *decoder) headerFields(flags byte) bool {
	if flags&flagExtra != 0 {
		size := d.scratch[:2]
		if !d.readFull(size) {
			return false
		}
		d.sum = crc32.Update(d.sum, crc32.IEEETable, size)
		for n := int(binary.LittleEndian.Uint16(size)); n > 0; {
			p := d.scratch[:min(n, len(d.scratch))]
			if !d.readFull(p) {
				return false
			}
			d.sum = crc32.Update(d.sum, crc32.IEEETable, p)
			n -= len(p)
		}
	}
	if flags&flagName != 0 && !d.headerString() {
		return false
	}
	if flags&flagComment != 0 && !d.headerString() {
		return false
	}
	if flags&flagHeaderCRC != 0 {
		p := d.scratch[:2]
		if !d.readFull(p) {
			return false
		}
		if binary.LittleEndian.Uint16(p) != uint16(d.sum) {
			d.badHeader("header checksum mismatch")
			return false
		}
	}
	return true
}

// headerString skips a string that ends with a zero.
func (d *decoder) headerString() bool {
	for i := range d.scratch {
		if !d.readFull(d.scratch[i : i+1]) {
			return false
		}
		if d.scratch[i] == 0 {
			d.sum = crc32.Update(d.sum, crc32.IEEETable, d.scratch[:i+1])
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
	trailer := d.scratch[:8]
	if !d.readFull(trailer) {
		if d.err == io.EOF {
			d.err = io.ErrUnexpectedEOF
		}
		return false
	}
	reason := ""
	switch {
	case d.unsummed:
		return true
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
