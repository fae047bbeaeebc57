package delta

import (
	"context"
	"fmt"
	"io"
	"math"
)

// A delta has as many copies as of averageCopy bytes make the new text, and fewCopies more:
// each one may cost a reader a search in the tokens of a base. Real layers have copies of
// thousands of bytes.
const (
	averageCopy = 32
	fewCopies   = 1024
)

// mostCopies returns how many copies a text of a size may have.
func mostCopies(size int64) int64 { return size/averageCopy + fewCopies }

// span is a part of the new text that is made from a part of the old one.
type span struct {
	new, old, size int64
}

// spanReader reads the copies of a delta. In their stream each one is three
// numbers: the bytes between the one before and this one, which are extra; the
// distance in the old text from the end of the one before, with its sign; and its
// size.
type spanReader struct {
	ctx      context.Context // asked now and then
	s        *stream
	copies   int64 // so far
	end, old int64 // of the copy before
	newSize  int64
	oldSize  int64
}

// next returns the next copy. After the last one it returns one of no bytes behind
// all texts.
func (r *spanReader) next() (span, error) {
	if r.s.empty() {
		return span{new: math.MaxInt64}, nil
	}
	if r.copies++; r.copies%askEvery == 0 {
		if err := context.Cause(r.ctx); err != nil {
			return span{}, err
		}
	}
	if r.copies > mostCopies(r.newSize) {
		return span{}, fmt.Errorf("%w: too many copies", ErrDamaged)
	}
	extra, err := r.s.uint()
	if err != nil {
		return span{}, err
	}
	distance, err := r.s.int()
	if err != nil {
		return span{}, err
	}
	size, err := r.s.uint()
	if err != nil {
		return span{}, err
	}
	if extra > r.newSize-r.end || size == 0 || size > r.newSize-r.end-extra ||
		distance < -r.old || distance > r.oldSize-r.old || size > r.oldSize-r.old-distance {
		return span{}, fmt.Errorf("%w: a copy leads out of the text", ErrDamaged)
	}
	c := span{r.end + extra, r.old + distance, size}
	r.end, r.old = c.new+size, c.old+size
	return c, nil
}

// textReader makes the new text of the old one: copies, corrected where they
// differ, and extra bytes between them.
type textReader struct {
	spans          *spanReader
	old            io.ReaderAt
	gaps, values   *stream
	extra          *stream
	pos, size      int64
	current        span
	copied         int64 // bytes copied so far
	nextCorrection int64 // how many have been copied when a correction is due
	err            error
}

func newTextReader(spans *spanReader, old io.ReaderAt, gaps, values, extra *stream) (*textReader, error) {
	t := &textReader{spans: spans, old: old, gaps: gaps, values: values, extra: extra, size: spans.newSize}
	if err := t.gap(); err != nil {
		return nil, err
	}
	var err error
	t.current, err = spans.next()
	return t, err
}

// gap reads how many bytes are the same before the next correction.
func (t *textReader) gap() error {
	if t.gaps.empty() {
		t.nextCorrection = math.MaxInt64
		return nil
	}
	n, err := t.gaps.uint()
	if err == nil && n > sizeLimit {
		err = fmt.Errorf("%w: corrections", ErrDamaged)
	}
	t.nextCorrection += n
	return err
}

// Read implements io.Reader.
func (t *textReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && t.err == nil && t.pos < t.size {
		var k int
		if t.pos < t.current.new {
			k = int(min(int64(len(p)-n), t.current.new-t.pos, t.size-t.pos))
			t.err = t.extra.read(p[n : n+k])
		} else {
			k = int(min(int64(len(p)-n), t.current.new+t.current.size-t.pos))
			t.err = t.copy(p[n : n+k])
		}
		if t.err != nil {
			break
		}
		n += k
		t.pos += int64(k)
		if t.pos == t.current.new+t.current.size {
			t.current, t.err = t.spans.next()
		}
	}
	if n > 0 || t.err != nil {
		return n, t.err
	}
	return 0, io.EOF
}

// copy fills p from the old text and corrects it.
func (t *textReader) copy(p []byte) error {
	if n, err := t.old.ReadAt(p, t.current.old+t.pos-t.current.new); n < len(p) {
		return fmt.Errorf("reading a base: %w", err)
	}
	start := t.copied
	t.copied += int64(len(p))
	for t.nextCorrection < t.copied {
		v, err := t.values.byte()
		if err != nil {
			return err
		}
		p[t.nextCorrection-start] += v
		t.nextCorrection++
		if err := t.gap(); err != nil {
			return err
		}
	}
	return nil
}

// textEncoder writes the streams from which a textReader makes the text.
type textEncoder struct {
	out      *streamWriter
	old, new io.ReaderAt
	newSize  int64
	end      int64 // of the copy before, in the new text
	oldEnd   int64
	same     uint64 // bytes since the last correction
	a, b     []byte
	pending  span // not written yet, for it may go on
}

func newTextEncoder(out *streamWriter, old, new io.ReaderAt, newSize int64) *textEncoder {
	return &textEncoder{out: out, old: old, new: new, newSize: newSize, a: make([]byte, 64<<10), b: make([]byte, 64<<10)}
}

// add appends a copy, which begins behind the one before.
func (e *textEncoder) add(c span) error {
	p := &e.pending
	if c.new == p.new+p.size && c.old == p.old+p.size {
		p.size += c.size
		return nil
	}
	err := e.flush()
	e.pending = c
	return err
}

// flush writes the copy that waits.
func (e *textEncoder) flush() error {
	c := e.pending
	if c.size == 0 {
		return nil
	}
	if err := e.extraUntil(c.new); err != nil {
		return err
	}
	e.out.uint(streamCopies, uint64(c.new-e.end))
	e.out.int(streamCopies, c.old-e.oldEnd)
	e.out.uint(streamCopies, uint64(c.size))
	e.end, e.oldEnd = c.new+c.size, c.old+c.size
	for off := int64(0); off < c.size; {
		n := int(min(c.size-off, int64(len(e.a))))
		a, b := e.a[:n], e.b[:n]
		if m, err := e.old.ReadAt(a, c.old+off); m < n {
			return fmt.Errorf("reading a base: %w", err)
		}
		if m, err := e.new.ReadAt(b, c.new+off); m < n {
			return fmt.Errorf("reading the text: %w", err)
		}
		e.correct(a, b)
		off += int64(n)
	}
	return e.out.err
}

// correct notes the corrections that make b from a.
func (e *textEncoder) correct(a, b []byte) {
	for len(b) > 0 {
		n := matchLen(a, b)
		e.same += uint64(n)
		if n == len(b) {
			return
		}
		e.out.uint(streamGaps, e.same)
		e.out.byte(streamValues, b[n]-a[n])
		e.same = 0
		a, b = a[n+1:], b[n+1:]
	}
}

// extraUntil writes text that is not copied.
func (e *textEncoder) extraUntil(pos int64) error {
	for off := e.end; off < pos; {
		p := e.b[:min(pos-off, int64(len(e.b)))]
		if m, err := e.new.ReadAt(p, off); m < len(p) {
			return fmt.Errorf("reading the text: %w", err)
		}
		e.out.bytes(streamExtra, p)
		off += int64(len(p))
		if e.out.err != nil {
			return e.out.err
		}
	}
	return nil
}

// finish writes the pending copy and the text after it.
func (e *textEncoder) finish() error {
	if err := e.flush(); err != nil {
		return err
	}
	return e.extraUntil(e.newSize)
}
