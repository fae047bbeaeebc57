package deflate

import (
	"encoding/binary"
	"io"
)

// inputSize is how much is read at once.
const inputSize = 1 << 16

// bitReader takes bits from a stream, the lowest of each byte first. At the end
// of the stream it goes on with zeros; the caller checks overrun.
type bitReader struct {
	r    io.Reader
	err  error // of r; io.EOF at its end
	buf  [inputSize + 8]byte
	pos  int
	end  int
	bits uint64
	n    uint // of bits
	fake uint // bits of n that are beyond the end
}

// fill reads more.
func (r *bitReader) fill() {
	copy(r.buf[:], r.buf[r.pos:r.end])
	r.end -= r.pos
	r.pos = 0
	for r.end < 8 && r.err == nil {
		var n int
		n, r.err = r.r.Read(r.buf[r.end:inputSize])
		r.end += n
	}
}

// need makes at least 56 bits available.
func (r *bitReader) need() {
	if r.end-r.pos < 8 {
		r.fill()
		if r.end-r.pos < 8 {
			r.needSlowly()
			return
		}
	}
	r.bits |= binary.LittleEndian.Uint64(r.buf[r.pos:]) << r.n
	r.pos += int(63-r.n) >> 3
	r.n |= 56
}

func (r *bitReader) needSlowly() {
	r.bits &= 1<<r.n - 1
	for r.n < 56 {
		if r.pos < r.end {
			r.bits |= uint64(r.buf[r.pos]) << r.n
			r.pos++
		} else {
			r.fake += 8
		}
		r.n += 8
	}
}

// overrun reports whether bits have been taken that the stream does not have.
func (r *bitReader) overrun() bool { return r.fake > r.n }

// take returns the next k bits, k being at most 32.
func (r *bitReader) take(k uint) uint32 {
	if r.n < k {
		r.need()
	}
	v := uint32(r.bits & (1<<k - 1))
	r.bits >>= k
	r.n -= k
	return v
}

// align takes the bits that are left of a byte in use.
func (r *bitReader) align() byte {
	return byte(r.take(r.n & 7))
}

// more reports whether the stream goes on. It must be aligned.
func (r *bitReader) more() bool {
	if r.n > r.fake {
		return true
	}
	if r.pos == r.end {
		r.fill()
	}
	return r.pos < r.end
}

// failure is the error of a stream that ended too early, or could not be read.
func (r *bitReader) failure() error {
	if r.err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return r.err
}

// readBytes reads into p, of an aligned stream.
func (r *bitReader) readBytes(p []byte) error {
	for ; r.n > 0 && len(p) > 0; p = p[1:] {
		p[0] = byte(r.take(8))
	}
	if len(p) == 0 {
		if r.overrun() {
			return r.failure()
		}
		return nil
	}
	r.bits = 0
	for len(p) > 0 {
		if r.pos == r.end {
			r.fill()
			if r.pos == r.end {
				return r.failure()
			}
		}
		n := copy(p, r.buf[r.pos:r.end])
		r.pos += n
		p = p[n:]
	}
	return nil
}

// bitWriter writes bits, the lowest of each byte first.
type bitWriter struct {
	w    io.Writer
	err  error
	buf  [inputSize + 8]byte
	end  int
	bits uint64
	n    uint
}

// put writes the low k bits of v, which has no others, k being at most 32.
func (w *bitWriter) put(v uint32, k uint) {
	w.bits |= uint64(v) << w.n
	w.n += k
	if w.n >= 32 {
		w.spill()
	}
}

// spill moves whole bytes to the buffer.
func (w *bitWriter) spill() {
	binary.LittleEndian.PutUint64(w.buf[w.end:], w.bits)
	k := w.n >> 3
	w.end += int(k)
	w.bits >>= k * 8
	w.n &= 7
	if w.end >= inputSize {
		w.flush()
	}
}

// flush hands the buffer on.
func (w *bitWriter) flush() {
	if w.err == nil {
		_, w.err = w.w.Write(w.buf[:w.end])
	}
	w.end = 0
}

// align fills a byte that has begun with the bits of pad.
func (w *bitWriter) align(pad byte) {
	if k := -w.n & 7; k > 0 {
		w.put(uint32(pad)&(1<<k-1), k)
	}
}

// writeBytes writes p to an aligned stream.
func (w *bitWriter) writeBytes(p []byte) {
	w.spill()
	for len(p) > 0 && w.err == nil {
		n := copy(w.buf[w.end:inputSize], p)
		w.end += n
		p = p[n:]
		if w.end >= inputSize {
			w.flush()
		}
	}
}
