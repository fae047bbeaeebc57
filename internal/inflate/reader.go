// Package inflate decompresses gzip (RFC 1952, RFC 1951) at a multiple of the
// speed of compress/gzip, and accepts exactly what that package accepts.
//
// It is for long streams that are decompressed once, hashed and written: the
// data is handed out in large slices of its own buffer, while it is still in
// the processor's cache. It knows nothing of images, archives or files.
package inflate

import (
	"io"
	"sync"
)

// Reader decompresses a gzip stream: one member or several, whose data is
// concatenated.
//
// The checksum and length of each member are verified when its end is
// reached, so data counts only once the Reader has reported the end of the
// stream. Errors are those of compress/gzip: io.ErrUnexpectedEOF for a stream
// that is cut off, the underlying reader's own errors unchanged, and a
// [CorruptError] for anything that is not valid.
//
// A Reader reads ahead of what it has decoded, so the position of the
// underlying reader is of no use after the stream. It must not be used by
// several goroutines at once.
type Reader struct {
	d *decoder // nil when closed
}

// decoders are some 350 KB each, which is why they are used again.
var decoders = sync.Pool{New: func() any { return new(decoder) }}

// NewReader returns a Reader for the stream in r, and reads its first header.
// An empty stream is io.EOF. Close it after use.
func NewReader(r io.Reader) (*Reader, error) {
	z := new(Reader)
	if err := z.Reset(r); err != nil {
		z.Close()
		return nil, err
	}
	return z, nil
}

// Reset makes z decompress the stream in r, as if it were new. It may be
// called after Close and after an error.
func (z *Reader) Reset(r io.Reader) error {
	if z.d == nil {
		z.d = decoders.Get().(*decoder)
	}
	z.d.reset(r)
	return z.d.err
}

// Close gives the buffers back. It does not close the underlying reader, and
// does not verify what has not been read. Closing twice is harmless.
func (z *Reader) Close() error {
	if z.d != nil {
		z.d.r, z.d.noteAfter = nil, nil
		decoders.Put(z.d)
		z.d = nil
	}
	return nil
}

// Read implements [io.Reader].
func (z *Reader) Read(p []byte) (int, error) {
	d := z.d
	if d == nil {
		return 0, errClosed
	}
	if d.handed == d.op {
		if d.err != nil {
			return 0, d.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		d.run()
		if d.handed == d.op {
			return 0, d.err
		}
	}
	n := copy(p, d.out[d.handed:d.op])
	d.handed += n
	return n, nil
}

// WriteTo implements [io.WriterTo]. It writes slices of its own buffer, of
// some 200 KB, which are valid only during the call of Write.
func (z *Reader) WriteTo(w io.Writer) (int64, error) {
	d := z.d
	if d == nil {
		return 0, errClosed
	}
	total := int64(0)
	for {
		if d.handed < d.op {
			p := d.out[d.handed:d.op:d.op]
			n, err := w.Write(p)
			if n < 0 || n > len(p) {
				return total, errBadWrite
			}
			d.handed += n
			total += int64(n)
			if err == nil && n < len(p) {
				err = io.ErrShortWrite
			}
			if err != nil {
				return total, err
			}
		}
		if d.err == io.EOF {
			return total, nil
		}
		if d.err != nil {
			return total, d.err
		}
		d.run()
	}
}
