package deflate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Types of blocks.
const (
	Stored  = 0
	Fixed   = 1
	Dynamic = 2
)

// Block is the header of a block.
type Block struct {
	Type  int
	Final bool
	Size  int    // of a stored block: its bytes
	Pad   byte   // of a stored block: the bits between its type and its size
	Trees *Trees // of a dynamic block
}

// Trailer is what ends a member of a gzip file.
type Trailer struct {
	Pad      byte    // the bits that fill the last byte of the deflate stream
	Bytes    [8]byte // checksum and length
	Computed [8]byte // what they should be
}

// ErrFormat means that a stream is not one of gzip, or has something in it for
// which this package has no description.
var ErrFormat = errors.New("not a valid gzip stream")

const (
	historySize = 1 << 15
	textSize    = historySize + 1<<16
	batchTokens = 1 << 14
)

// Reader takes a gzip file apart. Member, Block, Read and End are called in the
// order of the format: Member, then for each block Block and Read until it is
// done, and after the final block End.
type Reader struct {
	in         bitReader
	lits, dist decoder
	block      Block
	left       int // of a stored block
	text       [textSize + MaxMatch]byte
	end        int // of text
	history    int // how far back matches may go
	sum, size  uint32
	tokens     []Token
}

// NewReader returns a Reader of the gzip file in r.
func NewReader(r io.Reader) *Reader {
	return &Reader{in: bitReader{r: r}, tokens: make([]Token, batchTokens)}
}

func (r *Reader) failed(reason string) error {
	if err := r.in.err; err != nil && err != io.EOF {
		return err // and what has been read may be wrong for that reason
	}
	if r.in.overrun() {
		reason = "cut short"
	}
	return fmt.Errorf("%w: %s", ErrFormat, reason)
}

// Member reads the header of the next member. If there is none, member is false
// and header is up to 10 bytes of what is there instead; Rest has what follows.
func (r *Reader) Member() (header []byte, member bool, err error) {
	read := func(n int) bool {
		for ; n > 0 && r.in.more(); n-- {
			header = append(header, byte(r.in.take(8)))
		}
		return n == 0
	}
	if !read(10) || header[0] != 0x1f || header[1] != 0x8b || header[2] != 8 {
		if err := r.in.err; err != nil && err != io.EOF {
			return nil, false, err
		}
		return header, false, nil
	}
	flags := header[3]
	ok := true
	if flags&4 != 0 { // extra field
		if ok = read(2); ok {
			ok = read(int(binary.LittleEndian.Uint16(header[len(header)-2:])))
		}
	}
	for _, f := range [2]byte{8, 16} { // name, comment
		for more := flags&f != 0; more && ok; more = ok && header[len(header)-1] != 0 {
			ok = read(1) && len(header) < 1<<17
		}
	}
	if ok && flags&2 != 0 {
		ok = read(2)
	}
	if !ok {
		if err := r.in.err; err != nil && err != io.EOF {
			return nil, false, err
		}
		return nil, false, r.failed("member header")
	}
	r.history, r.sum, r.size = 0, 0, 0
	return header, true, nil
}

// Rest reads what follows the last member into p.
func (r *Reader) Rest(p []byte) (int, error) {
	n := 0
	for n < len(p) && r.in.more() {
		p[n] = byte(r.in.take(8))
		n++
	}
	if n == 0 {
		if r.in.err == nil || r.in.err == io.EOF {
			return 0, io.EOF
		}
		return 0, r.in.err
	}
	return n, nil
}

// Block reads the header of the next block. It is valid until the next call.
func (r *Reader) Block() (*Block, error) {
	b := Block{Final: r.in.take(1) == 1, Type: int(r.in.take(2))}
	switch b.Type {
	case Stored:
		b.Pad = r.in.align()
		b.Size = int(r.in.take(16))
		if int(r.in.take(16)) != ^b.Size&0xffff {
			return nil, r.failed("size of a stored block")
		}
		r.left = b.Size
	case Fixed:
		b.Trees = fixedTrees
	case Dynamic:
		b.Trees = new(Trees)
		if err := r.trees(b.Trees); err != nil {
			return nil, r.failed(err.Error())
		}
	default:
		return nil, r.failed("type of a block")
	}
	if r.in.overrun() {
		return nil, r.failed("")
	}
	if b.Trees != nil {
		if err := errors.Join(r.lits.init(b.Trees.Lits), r.dist.init(b.Trees.Dists)); err != nil {
			return nil, r.failed(err.Error())
		}
	}
	r.block = b
	return &r.block, nil
}

// trees reads the header of a dynamic block.
func (r *Reader) trees(t *Trees) error {
	lits, dists := int(r.in.take(5))+endOfBlock+1, int(r.in.take(5))+1
	t.Listed = int(r.in.take(4)) + 4
	for _, s := range codeOrder[:t.Listed] {
		t.Code[s] = uint8(r.in.take(3))
	}
	if err := r.lits.init(t.Code[:]); err != nil {
		return err
	}
	for n := 0; n < lits+dists; {
		r.in.need()
		e := r.lits.primary[r.in.bits&(1<<primaryBits-1)]
		if e == 0 || r.in.overrun() {
			return errTrees
		}
		r.in.take(uint(e & 15))
		s := byte(e >> 4)
		t.Runs = append(t.Runs, s)
		n++
		if s >= 16 {
			k := r.in.take(runBits[s-16])
			t.Runs = append(t.Runs, byte(k))
			n += int(k) + runLeast[s-16] - 1
		}
	}
	return t.Expand(lits, dists)
}

// Read reads more of the block: its next tokens, which a stored block has none
// of, and the text that they make. Both are valid until the next call. The block
// ends with done.
func (r *Reader) Read() (tokens []Token, text []byte, done bool, err error) {
	if r.end > textSize-1<<15 {
		copy(r.text[:], r.text[r.end-historySize:r.end])
		r.end = historySize
	}
	start := r.end
	if r.block.Type == Stored {
		n := min(r.left, textSize-r.end)
		if err := r.in.readBytes(r.text[r.end : r.end+n]); err != nil {
			return nil, nil, false, r.failed("stored block: " + err.Error())
		}
		r.end += n
		r.left -= n
		done = r.left == 0
	} else if tokens, done, err = r.decode(); err != nil {
		return nil, nil, false, err
	}
	text = r.text[start:r.end]
	r.history = min(r.history+len(text), historySize)
	r.sum = crc32.Update(r.sum, crc32.IEEETable, text)
	r.size += uint32(len(text))
	return tokens, text, done, nil
}

// decode decodes tokens until the block, the buffer or the batch ends.
func (r *Reader) decode() ([]Token, bool, error) {
	in, out, tokens, n := &r.in, r.end, r.tokens[:batchTokens], 0
	oldest := r.end - r.history
	bits, have := in.bits, in.n
	for out < textSize && n < batchTokens {
		if have < 48 { // A match takes no more.
			if in.end-in.pos >= 8 { // need, without its calls
				bits |= binary.LittleEndian.Uint64(in.buf[in.pos&(inputSize-1):]) << (have & 63)
				in.pos += int(63-have) >> 3
				have |= 56
			} else {
				in.bits, in.n = bits, have
				in.need()
				bits, have = in.bits, in.n
			}
		}
		e := r.lits.primary[bits&(1<<primaryBits-1)]
		sym, length := int(e>>4), uint(e&15)
		if e == 0 {
			if sym, length = r.lits.long(bits); length == 0 {
				return nil, false, r.stopped(bits, have, "no such code")
			}
		}
		bits >>= length & 63
		have -= length
		if sym < endOfBlock {
			r.text[out] = byte(sym)
			out++
			tokens[n] = Token(sym)
			n++
			continue
		}
		if sym == endOfBlock {
			in.bits, in.n, r.end = bits, have, out
			if in.overrun() {
				return nil, false, r.failed("")
			}
			return tokens[:n], true, nil
		}
		if sym -= endOfBlock + 1; sym >= len(lengths) {
			return nil, false, r.stopped(bits, have, "match")
		}
		l := lengths[sym]
		k := int(l.base) + int(bits&(1<<(l.extra&63)-1))
		bits >>= l.extra & 63
		have -= uint(l.extra)
		e = r.dist.primary[bits&(1<<primaryBits-1)]
		d, length := int(e>>4), uint(e&15)
		if e == 0 {
			d, length = r.dist.long(bits)
		}
		bits >>= length & 63
		have -= length
		if length == 0 || d >= len(distances) {
			return nil, false, r.stopped(bits, have, "match")
		}
		x := distances[d]
		dist := int(x.base) + int(bits&(1<<(x.extra&63)-1))
		bits >>= x.extra & 63
		have -= uint(x.extra)
		from := out - dist
		// 258 has a symbol of its own; there is no telling that it was written otherwise.
		if from < oldest || k == MaxMatch && sym != len(lengths)-1 {
			return nil, false, r.stopped(bits, have, "match")
		}
		tokens[n] = Match(k, dist)
		n++
		if dist >= k {
			copy(r.text[out:out+k], r.text[from:from+k])
			out += k
		} else {
			for ; k > 0; k-- {
				r.text[out] = r.text[from]
				out++
				from++
			}
		}
	}
	in.bits, in.n, r.end = bits, have, out
	if in.overrun() {
		return nil, false, r.failed("")
	}
	return tokens[:n], false, nil
}

// stopped is failed for decode, which has the bits.
func (r *Reader) stopped(bits uint64, have uint, reason string) error {
	r.in.bits, r.in.n = bits, have
	return r.failed(reason)
}

// End reads the end of a member.
func (r *Reader) End() (Trailer, error) {
	t := Trailer{Pad: r.in.align()}
	for i := range t.Bytes {
		t.Bytes[i] = byte(r.in.take(8))
	}
	if r.in.overrun() {
		return t, r.failed("")
	}
	binary.LittleEndian.PutUint32(t.Computed[:], r.sum)
	binary.LittleEndian.PutUint32(t.Computed[4:], r.size)
	return t, nil
}
