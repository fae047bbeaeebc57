package inflate

import "io"

const (
	// inSize is the size of the input buffer. It is a power of two so that
	// an index masked with inMask is known by the compiler to be in range.
	inSize = 1 << 16
	inMask = inSize - 1

	// inSlack follows the buffer so that eight bytes can be loaded at any
	// masked index.
	inSlack = 8

	// inShort is how much is read ahead of a block that may be a stored one,
	// as the first one of a stream, so that most of its data is read to where it
	// is wanted in the end.
	inShort = 1 << 12

	// maxEmptyReads is how often a reader may return neither data nor an
	// error in a row, as in package bufio.
	maxEmptyReads = 100
)

// input is the compressed stream: a buffer over a reader, and the bits taken
// from the buffer but not used yet. Bits are used from the low end.
//
// The careful parts of the decoder take bits with need and take, which read
// on when the buffer is empty and never want more than the stream's own
// structure promises: a block that the sender has flushed is decoded before
// the next read, which may wait for a long time.
type input struct {
	r   io.Reader
	err error // what r returned last; used when the buffer is empty

	pos, end int   // in[pos:end] is to be taken
	base     int64 // bytes of the stream before in[0]
	ahead    int   // how much to read at once

	bits  uint64 // the low nbits are valid, the others zero
	nbits uint

	in [inSize + inSlack]byte
}

func (d *input) reset(r io.Reader) {
	d.r, d.err = r, nil
	d.pos, d.end, d.base, d.ahead = 0, 0, 0, inShort
	d.bits, d.nbits = 0, 0
}

// offset is how many bytes of the stream have been used, at least in part.
func (d *input) offset() int64 {
	return d.base + int64(d.pos) - int64(d.nbits>>3)
}

// bitOffset is the number of bits of the stream that have been used.
func (d *input) bitOffset() int64 {
	return (d.base+int64(d.pos))<<3 - int64(d.nbits)
}

// read reads into p and returns how much. Zero means that d.err is set.
func (d *input) read(p []byte) int {
	if d.err != nil {
		return 0
	}
	for range maxEmptyReads {
		n, err := d.r.Read(p)
		if n < 0 || n > len(p) {
			d.err = errBadRead
			return 0
		}
		d.err = err
		if n > 0 || err != nil {
			return n
		}
	}
	d.err = io.ErrNoProgress
	return 0
}

// fill reads more into the buffer, and reports whether there is more.
func (d *input) fill() bool {
	copy(d.in[:], d.in[d.pos:d.end])
	d.base += int64(d.pos)
	d.end -= d.pos
	d.pos = 0
	n := d.read(d.in[d.end:min(d.end+d.ahead, inSize)])
	d.end += n
	return n > 0
}

// topUp moves whole bytes from the buffer into bits, without reading.
func (d *input) topUp() {
	if d.nbits >= 32 {
		return // plenty
	}
	if d.pos <= d.end-8 {
		d.bits |= loadIn(&d.in, d.pos) << d.nbits
		d.pos += int(63-d.nbits) >> 3
		d.nbits |= 56
		d.bits &= 1<<d.nbits - 1
		return
	}
	for d.nbits <= 56 && d.pos < d.end {
		d.bits |= uint64(d.in[d.pos]) << d.nbits
		d.pos++
		d.nbits += 8
	}
}

// need makes at least n bits available, n being at most 32, and reports
// whether the stream had that many left.
func (d *input) need(n uint) bool {
	for d.nbits < n {
		if d.pos == d.end && !d.fill() {
			return false
		}
		d.topUp()
	}
	return true
}

// take uses n of the available bits.
func (d *input) take(n uint) uint32 {
	v := uint32(d.bits & (1<<n - 1))
	d.bits >>= n
	d.nbits -= n
	return v
}

// align drops what is left of a byte that has been used in part.
func (d *input) align() {
	d.take(d.nbits & 7)
}

// takeBytes moves bytes into p, which it may fill only in part, and returns
// how many. It is zero at the end of the stream. The input must be aligned.
func (d *input) takeBytes(p []byte) int {
	n := 0
	for n < len(p) && d.nbits > 0 {
		p[n] = byte(d.take(8))
		n++
	}
	if n > 0 || len(p) == 0 {
		return n
	}
	if d.pos == d.end && len(p) > inShort {
		n = d.read(p)
		d.base += int64(n)
		return n
	}
	if d.pos == d.end && !d.fill() {
		return 0
	}
	n = copy(p, d.in[d.pos:d.end])
	d.pos += n
	return n
}

// failure is the error for a stream that ended too early.
func (d *input) failure() error {
	if d.err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return d.err
}
