package delta

import (
	"encoding/binary"
	"math/bits"
)

// window is the end of a text: what has been added to it last.
type window struct {
	all   *windowText
	buf   []byte // the part of all that is in use
	begin int64  // position in the text of buf[0]
	end   int64
}

const (
	// keptText is how much of a text a window has at least, before what is added.
	keptText = 512 << 10
	// windowMask keeps indexes in a window, so that the compiler needs no checks. It changes none.
	windowMask = 2*keptText - 1
)

// windowText has room for the text of a window, and for a load of eight bytes anywhere in it.
type windowText [2*keptText + 8]byte

// load returns the eight bytes at an index, load4 the first four of them.
func (t *windowText) load(i int) uint64 { return binary.LittleEndian.Uint64(t[i&windowMask:]) }

func (t *windowText) load4(i int) uint32 { return binary.LittleEndian.Uint32(t[i&windowMask:]) }

// same returns how many bytes are the same at two indexes, at most so many.
func (t *windowText) same(a, b, most int) int {
	n := 0
	for ; n+8 <= most; n += 8 {
		if x := t.load(a+n) ^ t.load(b+n); x != 0 {
			return n + bits.TrailingZeros64(x)>>3
		}
	}
	for n < most && t[(a+n)&windowMask] == t[(b+n)&windowMask] {
		n++
	}
	return n
}

// add appends to the text. p has at most keptText bytes.
func (w *window) add(p []byte) {
	if w.all == nil {
		w.all = new(windowText)
		w.buf = w.all[: 0 : 2*keptText]
	}
	if len(w.buf)+len(p) > 2*keptText && len(w.buf) > keptText {
		n := copy(w.buf, w.buf[len(w.buf)-keptText:])
		w.begin += int64(len(w.buf) - n)
		w.buf = w.buf[:n]
	}
	w.buf = append(w.buf, p...)
	w.end += int64(len(p))
}

// slice returns n bytes of the text, or fewer if they are not there.
func (w *window) slice(pos int64, n int) []byte {
	i := pos - w.begin
	if i < 0 || i >= int64(len(w.buf)) {
		return nil
	}
	return w.buf[i:min(i+int64(n), int64(len(w.buf)))]
}
