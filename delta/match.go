package delta

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
)

// The search for copies works as bsdiff and xdelta do: sampled pieces of the old
// text are in a table of fixed size; where the new text has one of them, the
// search compares the two forwards and backwards, over bytes that differ for as
// long as more are the same. So an executable whose addresses have moved is one
// long copy with corrections. None of this is part of the format.
const (
	windowSize = 4 << 20 // of the new text that is in memory
	maxSeeds   = 1 << 23 // entries of the table, of four bytes
	pageSize   = 16 << 10
	numPages   = 128 // of the old text that are in memory

	leastAligned = 8  // bytes to go on as before
	leastGain    = 8  // another place must be better by as many bytes
	plentiful    = 32 // bytes at which no other place is looked for
	dropForward  = 32 // how many more bytes may differ than be the same
	dropBackward = 64
	askEvery     = 128 // copies, whether the search shall end
)

// seeds finds places of the old text by a hash of some bytes that begin there.
type seeds struct {
	width, step int
	shift       uint
	table       []uint32 // place / step + 1, and below it checkBits of the hash; 0: none
}

// checkBits rule out most wrong places before the old text is read there.
const checkBits = 7

// newSeeds chooses how long and how dense seeds are for an old text of a size.
func newSeeds(size int64) *seeds {
	s := &seeds{width: 16, step: 4}
	if size > 40<<20 {
		s.width, s.step = 32, 8
	}
	for size/int64(s.step) > maxSeeds {
		s.step *= 2
	}
	n := min(max(bits.Len64(uint64(size/int64(s.step))), 10), bits.Len(maxSeeds-1))
	s.table = make([]uint32, 1<<n)
	s.shift = uint(64 - n)
	return s
}

// hash returns where in the table the piece at p is, and its check.
func (s *seeds) hash(p []byte) (slot, check uint32) {
	x := binary.LittleEndian.Uint64(p) * 0x9E3779B97F4A7C15
	for k := 8; k < s.width; k += 8 {
		x = (x ^ x>>31) + binary.LittleEndian.Uint64(p[k:])*0xC2B2AE3D27D4EB4F
	}
	x = (x ^ x>>29) * 0x9E3779B97F4A7C15
	return uint32(x >> s.shift), uint32(x>>(s.shift-checkBits)) & (1<<checkBits - 1)
}

// fill reads the old text into the table. The first of equal pieces stays.
func (s *seeds) fill(ctx context.Context, old io.ReaderAt, size int64) error {
	r := &contextReader{ctx, io.NewSectionReader(old, 0, size)}
	buf := make([]byte, 256<<10)
	have, number := 0, uint32(1) // of the piece at buf[0]
	for {
		n, err := io.ReadFull(r, buf[have:])
		have += n
		i := 0
		for ; i+s.width <= have; i += s.step {
			slot, check := s.hash(buf[i:])
			entry, piece := s.table[slot], number<<checkBits|check
			if entry == 0 { // Compiled without a branch, which would wait for the table: it fits no cache.
				entry = piece
			}
			s.table[slot] = entry
			number++
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading a base: %w", err)
		}
		have = copy(buf, buf[min(i, have):have])
	}
}

// find returns a place whose text may be that of p, or -1.
func (s *seeds) find(p []byte) int64 {
	slot, check := s.hash(p)
	if e := s.table[slot]; e != 0 && e&(1<<checkBits-1) == check {
		return (int64(e>>checkBits) - 1) * int64(s.step)
	}
	return -1
}

// pages is the old text, with some of it in memory. The first error stays.
type pages struct {
	r     io.ReaderAt
	size  int64
	pages [numPages][]byte
	at    [numPages]int64
	err   error
	vain  int64 // bytes that forward has compared behind the ends of copies
}

// patience returns how far forward may look for something better, at a position of the new text.
// A pair of Go binaries stays below the limit. Without it, a text that is the same and other in
// turn would take the square of its size.
func (p *pages) patience(pos int64) int {
	if p.vain > 8*pos+1<<20 {
		return 256
	}
	return windowSize
}

// from returns the text from pos to the end of its page, or nothing.
func (p *pages) from(pos int64) []byte {
	if pos < 0 || pos >= p.size {
		return nil
	}
	return p.page(pos / pageSize)[pos%pageSize:]
}

// until returns the text from the beginning of a page to pos, or nothing.
func (p *pages) until(pos int64) []byte {
	if pos <= 0 || pos > p.size {
		return nil
	}
	n := (pos - 1) / pageSize
	return p.page(n)[:pos-n*pageSize]
}

func (p *pages) page(n int64) []byte {
	i := n % numPages
	if p.pages[i] == nil {
		p.pages[i] = make([]byte, pageSize)
	} else if p.at[i] == n {
		return p.pages[i]
	}
	p.at[i] = n
	b := p.pages[i][:min(pageSize, p.size-n*pageSize)]
	if k, err := p.r.ReadAt(b, n*pageSize); k < len(b) && p.err == nil {
		p.err = fmt.Errorf("reading a base: %w", err)
	}
	p.pages[i] = b[:len(b):pageSize]
	return b
}

func matchLen(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)>>3
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// same returns how many bytes from q on are those of b.
func (p *pages) same(q int64, b []byte) int {
	n := 0
	for {
		a := p.from(q + int64(n))
		k := matchLen(a, b[n:])
		n += k
		if k < len(a) || len(a) == 0 {
			return n
		}
	}
}

// forward returns how much of b is well made from the text at q. The first bytes,
// same of them, are known to be equal. It looks so many bytes behind the best end.
func (p *pages) forward(q int64, b []byte, same, patience int) int {
	best, score, top := same, same, same
	n := same
scan:
	for n < len(b) {
		a := p.from(q + int64(n))
		if len(a) == 0 {
			break
		}
		a = a[:min(len(a), len(b)-n)]
		for i := 0; i < len(a); {
			if k := matchLen(a[i:], b[n+i:]); k > 0 {
				score += k
				if i += k; score > top {
					top, best = score, n+i
				}
				continue
			}
			score--
			i++
			if score < top-dropForward || n+i > best+patience {
				n += i
				break scan
			}
		}
		n += len(a)
	}
	p.vain += int64(n - best)
	return best
}

// backward returns how much of the end of b is well made from the text that ends
// at q.
func (p *pages) backward(q int64, b []byte) int {
	best, score, top := 0, 0, 0
	for n := 0; n < len(b); {
		a := p.until(q - int64(n))
		if len(a) == 0 {
			break
		}
		a = a[max(0, len(a)-(len(b)-n)):]
		for i := range a {
			if a[len(a)-1-i] == b[len(b)-1-n-i] {
				if score++; score > top {
					top, best = score, n+i+1
				}
			} else if score--; score < top-dropBackward {
				return best
			}
		}
		n += len(a)
	}
	return best
}

// findCopies gives found the copies that make the new text of the old one, in the
// order of the new text.
func findCopies(ctx context.Context, old io.ReaderAt, oldSize int64, new io.ReaderAt, newSize int64, found func(span) error) error {
	s := newSeeds(oldSize)
	if err := s.fill(ctx, old, oldSize); err != nil {
		return err
	}
	p := &pages{r: old, size: oldSize}
	window := make([]byte, 0, min(windowSize, newSize))
	var last span
	chosen, copies := 0, int64(0)
	for start := int64(0); start < newSize; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		window = window[:min(int64(cap(window)), newSize-start)]
		if n, err := new.ReadAt(window, start); n < len(window) {
			return fmt.Errorf("reading the text: %w", err)
		}
		i := 0
		for done := 0; i+s.width <= len(window); { // window[:done] is copied, or of the window before
			c, same := s.choose(p, last, start+int64(i), window[i:])
			if same == 0 {
				i++
				continue
			}
			if chosen++; chosen%askEvery == 0 {
				if err := context.Cause(ctx); err != nil {
					return err
				}
			}
			back := p.backward(c, window[done:i])
			n := back + p.forward(c, window[i:], same, p.patience(start+int64(i)))
			last = span{start + int64(i-back), c - int64(back), int64(n)}
			if n >= averageCopy || copies < mostCopies(last.new) { // Else there are too many.
				copies++
				if err := found(last); err != nil {
					return err
				}
			}
			i += n - back
			done = i
		}
		if p.err != nil {
			return p.err
		}
		if start+int64(len(window)) == newSize {
			return nil
		}
		start += int64(i)
	}
	return nil
}

// choose returns a place of the old text to copy from, and how many bytes are the
// same there, 0 meaning none. Going on as the last copy did is best.
func (s *seeds) choose(p *pages, last span, pos int64, b []byte) (place int64, same int) {
	if q := last.old + pos - last.new; q >= 0 && q < p.size {
		if n := p.same(q, b); n >= leastAligned {
			place, same = q, n
		}
	}
	if same < plentiful {
		if q := s.find(b); q >= 0 {
			if n := p.same(q, b); n >= s.width && n > same+leastGain {
				place, same = q, n
			}
		}
	}
	return place, same
}
