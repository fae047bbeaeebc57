package inflate

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"sync"
)

const (
	// pointEvery is how much data is between two restart points at least, maxPoints how
	// many there are at most. A point takes 32 KiB: 8 MiB in all. Every other point is
	// dropped when the data exceeds 1 GiB, and again at 2 GiB.
	pointEvery = 4 << 20
	maxPoints  = 256

	// maxCursors is how many decoders an Index keeps that wait to go on. Each takes 350 KB.
	maxCursors = 2
)

// point is where decoding can start again: between two symbols of a stream.
type point struct {
	out   int64 // bytes of data before it
	at    int64 // bits of the stream before it
	block int64 // bits before the block that it is in, whose codes have to be read first

	state  int
	final  bool
	stored int
	window []byte // the data before it, as far as a match may reach back
}

// Index is where a gzip stream can be entered: its restart points, at least every 4 MiB
// of the first GiB of data. A read through an Index decompresses at most the data
// between two points more than it returns. It has at most 8 MiB of points, and 700 KB of
// buffers.
//
// An Index is made by reading the stream once, with NewReader, to its end. That verifies
// checksums; a read through the Index is not verified again. ReadAt may be called
// concurrently, but not before that.
type Index struct {
	r    io.ReaderAt
	size int64

	points []point // in their order
	every  int64   // how much data is between them

	mutex   sync.Mutex
	cursors []*cursor // the one that was used last is last
}

// cursor is a Reader and where it is.
type cursor struct {
	Reader
	off int64
}

// NewIndex returns an Index of the stream that r has in its first size bytes. r is read
// concurrently.
func NewIndex(r io.ReaderAt, size int64) *Index { return &Index{r: r, size: size, every: pointEvery} }

// NewReader is the function NewReader for r, which has the Index's stream, and notes
// restart points while it is read. It is called once.
func (x *Index) NewReader(r io.Reader) (*Reader, error) {
	z, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	z.d.noteAfter = func() { x.note(z.d) }
	return z, nil
}

// note keeps where the decoder is, if it is far enough from the last point.
func (x *Index) note(d *decoder) {
	out := d.before + int64(d.op)
	last := int64(0)
	if len(x.points) > 0 {
		last = x.points[len(x.points)-1].out
	}
	if d.err != nil || d.state == atTrailer || out-last < x.every {
		return
	}
	if len(x.points) == maxPoints {
		n := 0
		for i := 1; i < maxPoints; i += 2 {
			x.points[n] = x.points[i]
			n++
		}
		clear(x.points[n:])
		x.points = x.points[:n]
		x.every *= 2
	}
	x.points = append(x.points, point{
		out: out, at: d.bitOffset(), block: d.blockAt, state: d.state, final: d.final, stored: d.stored,
		window: slices.Clone(d.out[max(d.start, d.op-windowSize):d.op]),
	})
}

// ReadAt implements io.ReaderAt for the data.
func (x *Index) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("inflate: negative offset")
	}
	c, err := x.cursor(off)
	if err != nil {
		return 0, err
	}
	skipped, err := io.CopyN(io.Discard, &c.Reader, off-c.off)
	c.off += skipped
	n := 0
	if err == nil {
		n, err = io.ReadFull(&c.Reader, p)
		c.off += int64(n)
	}
	if err != nil {
		if err == io.ErrUnexpectedEOF && c.d.err == io.EOF { // It has ended as it should.
			err = io.EOF
		}
		c.Close() //nolint:errcheck // It never fails.
		return n, err
	}
	x.keep(c)
	return n, nil
}

// cursor returns a cursor at or before an offset: one that is near, or one of a point.
func (x *Index) cursor(off int64) (*cursor, error) {
	i, exact := slices.BinarySearchFunc(x.points, off, func(p point, off int64) int { return cmp.Compare(p.out, off) })
	if !exact {
		i--
	}
	from := int64(0)
	if i >= 0 {
		from = x.points[i].out
	}
	x.mutex.Lock()
	best := -1
	for n, c := range x.cursors {
		if c.off <= off && c.off >= from && (best < 0 || c.off > x.cursors[best].off) {
			best = n
		}
	}
	if best >= 0 {
		c := x.cursors[best]
		x.cursors = slices.Delete(x.cursors, best, best+1)
		x.mutex.Unlock()
		return c, nil
	}
	x.mutex.Unlock()
	c := &cursor{off: from}
	c.d = decoders.Get().(*decoder)
	if i < 0 {
		c.d.reset(io.NewSectionReader(x.r, 0, x.size))
	} else {
		c.d.resume(x.r, x.size, &x.points[i])
	}
	if err := c.d.err; err != nil {
		c.Close() //nolint:errcheck // It never fails.
		return nil, err
	}
	return c, nil
}

// keep keeps a cursor for a later ReadAt that goes on there.
func (x *Index) keep(c *cursor) {
	x.mutex.Lock()
	defer x.mutex.Unlock()
	if len(x.cursors) == maxCursors {
		x.cursors[0].Close() //nolint:errcheck // It never fails.
		x.cursors = slices.Delete(x.cursors, 0, 1)
	}
	x.cursors = append(x.cursors, c)
}

// Close gives the buffers back. The Index can still be used.
func (x *Index) Close() error {
	x.mutex.Lock()
	defer x.mutex.Unlock()
	for _, c := range x.cursors {
		c.Close() //nolint:errcheck // It never fails.
	}
	x.cursors = nil
	return nil
}

// resume makes d ready to go on at a point of the stream.
func (d *decoder) resume(r io.ReaderAt, size int64, p *point) {
	d.err, d.noteAfter = nil, nil
	if p.state == inCodes {
		d.enter(r, size, p.block)
		d.blockHeader()
		if d.err != nil {
			return
		}
		if d.state != inCodes {
			d.corrupt("another block than when it was read first")
			return
		}
	}
	d.enter(r, size, p.at)
	d.state, d.final, d.stored, d.blockAt = p.state, p.final, p.stored, p.block
	d.flushed, d.unsummed = false, true
	d.op = copy(d.out[:], p.window)
	d.handed, d.summed, d.start, d.before = d.op, d.op, 0, p.out-int64(d.op)
}

// enter goes to a bit of the stream.
func (d *decoder) enter(r io.ReaderAt, size, at int64) {
	from := at >> 3
	d.input.reset(io.NewSectionReader(r, from, size-from))
	d.base = from
	if !d.need(uint(at & 7)) {
		d.short()
		return
	}
	d.take(uint(at & 7))
}
