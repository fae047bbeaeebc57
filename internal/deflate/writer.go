package deflate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrCannotWrite means that a block is not one that a stream can have: its trees
// are invalid, or have no code for one of its tokens.
var ErrCannotWrite = errors.New("no such block")

// Writer puts a gzip file together. Everything is written as it is told, even
// invalid input; only input that cannot be written is an error.
type Writer struct {
	out         bitWriter
	trees       *Trees // of the block that is written
	lits, dists []uint32
	// lengths has for each length of a match, less MinMatch, the code of its symbol and behind it
	// the bits that say which length of the symbol, and above lengthBits how many bits that is.
	lengths [MaxMatch - MinMatch + 1]uint32
	scratch []uint16
}

// lengthBits are enough for a code and the extra bits of a length.
const lengthBits = maxBits + 5

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{out: bitWriter{w: w}} }

// Bytes writes bytes as they are: headers, trailers, the content of stored blocks.
// The stream must be aligned.
func (w *Writer) Bytes(p []byte) error {
	w.out.writeBytes(p)
	return w.out.err
}

// Align fills the last byte of a deflate stream.
func (w *Writer) Align(pad byte) { w.out.align(pad) }

// Close writes what is still buffered. It does not close the underlying writer.
func (w *Writer) Close() error {
	w.out.align(0)
	w.out.spill()
	w.out.flush()
	return w.out.err
}

// Block writes the header of a block. After that of a stored block its content
// follows by Bytes; after others Tokens and EndBlock.
func (w *Writer) Block(b *Block) error {
	final := uint32(0)
	if b.Final {
		final = 1
	}
	w.out.put(final|uint32(b.Type)<<1, 3)
	switch b.Type {
	case Stored:
		if b.Size>>16 != 0 {
			return fmt.Errorf("%w: size of a stored block", ErrCannotWrite)
		}
		w.out.align(b.Pad)
		w.out.put(uint32(b.Size)|uint32(^b.Size&0xffff)<<16, 32)
		return w.out.err
	case Fixed:
		w.trees = fixedTrees
	case Dynamic:
		if err := b.Trees.Check(); err != nil {
			return fmt.Errorf("%w: %w", ErrCannotWrite, err)
		}
		w.trees = b.Trees
		w.header(b.Trees)
	default:
		return fmt.Errorf("%w: type", ErrCannotWrite)
	}
	w.lits = w.table(w.trees.Lits, w.lits)
	w.dists = w.table(w.trees.Dists, w.dists)
	w.measure()
	return w.out.err
}

// measure fills lengths.
func (w *Writer) measure() {
	for n := range w.lengths {
		s := lengthOf(n + MinMatch)
		c, l := w.lits[endOfBlock+1+int(s)], lengths[s]
		if w.lengths[n] = 0; c == 0 {
			continue
		}
		code, size := c&0xffff, c>>16
		w.lengths[n] = code | uint32(n+MinMatch-int(l.base))<<size | (size+uint32(l.extra))<<lengthBits
	}
}

// table returns for each symbol its code and, above 16 bits, how long it is.
func (w *Writer) table(lens []uint8, t []uint32) []uint32 {
	w.scratch = codes(lens, w.scratch)
	t = t[:0]
	for i, c := range w.scratch {
		t = append(t, uint32(c)|uint32(lens[i])<<16)
	}
	for len(t) < numLits+2 {
		t = append(t, 0)
	}
	return t
}

func (w *Writer) header(t *Trees) {
	w.out.put(uint32(len(t.Lits)-endOfBlock-1), 5)
	w.out.put(uint32(len(t.Dists)-1), 5)
	w.out.put(uint32(t.Listed-4), 4)
	for _, s := range codeOrder[:t.Listed] {
		w.out.put(uint32(t.Code[s]), 3)
	}
	code := w.table(t.Code[:], w.lits)
	for r := t.Runs; len(r) > 0; r = r[1:] {
		c := code[r[0]]
		w.out.put(c&0xffff, uint(c>>16))
		if r[0] >= 16 {
			w.out.put(uint32(r[1]), runBits[r[0]-16])
			r = r[1:]
		}
	}
	w.lits = code
}

// Tokens writes tokens of a block.
func (w *Writer) Tokens(tokens []Token) error {
	o := &w.out
	lits, dists := w.lits[:numLits+2], w.dists[:numDists]
	bits, n := o.bits, o.n
	missing := uint32(0) // a code of no bits sets the high bit
	for _, t := range tokens {
		if n > 15 { // A match takes up to 48 bits.
			if o.end > inputSize-8 {
				o.flush()
			}
			binary.LittleEndian.PutUint64(o.buf[o.end:], bits)
			o.end += int(n >> 3)
			bits >>= n &^ 7
			n &= 7
		}
		if t.IsLiteral() {
			c := lits[t.Byte()]
			missing |= c - 1
			bits |= uint64(c&0xffff) << n
			n += uint(c >> 16)
			continue
		}
		c := w.lengths[uint8(t.Len()-MinMatch)]
		missing |= c - 1
		bits |= uint64(c&(1<<lengthBits-1)) << n
		n += uint(c >> lengthBits)
		d := t.Dist()
		s := distOf(d)
		c = dists[s]
		missing |= c - 1
		bits |= uint64(c&0xffff) << n
		n += uint(c >> 16)
		bits |= uint64(d-int(distances[s].base)) << n
		n += uint(distances[s].extra)
	}
	o.bits, o.n = bits, n
	if n >= 32 {
		o.spill()
	}
	if missing>>31 != 0 {
		return fmt.Errorf("%w: token without a code", ErrCannotWrite)
	}
	return o.err
}

// EndBlock writes the end of a block of tokens.
func (w *Writer) EndBlock() error {
	c := w.lits[endOfBlock]
	w.out.put(c&0xffff, uint(c>>16))
	return w.out.err
}
