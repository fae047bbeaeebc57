package deflate

import (
	"errors"
	"math/bits"
	"slices"
)

var errCode = errors.New("invalid prefix code")

// primaryBits is how many bits the first lookup of a decoder takes. Longer codes
// are rare, and found by their length.
const primaryBits = 10

// decoder finds the symbol that a stream continues with.
type decoder struct {
	primary [1 << primaryBits]uint16 // symbol<<4 | length; 0: longer, or no code
	// Codes by length, for those that are longer: the first code, how many there
	// are, and where their symbols begin.
	first, count, start [maxBits + 1]uint16
	symbols             [numLits + 2]uint16
}

// init makes d the decoder of the code with the given lengths, 0 meaning that a
// symbol has none. A code may leave bits unused, as one with a single symbol
// does; it must not use any twice.
func (d *decoder) init(lens []uint8) error {
	clear(d.count[:])
	for _, n := range lens {
		d.count[n]++
	}
	d.count[0] = 0
	code, at := uint32(0), uint16(0)
	var next [maxBits + 1]uint16
	for n := 1; n <= maxBits; n++ {
		code <<= 1
		d.first[n], d.start[n], next[n] = uint16(code), at, at
		code += uint32(d.count[n])
		at += d.count[n]
		if code > 1<<n {
			return errCode
		}
	}
	clear(d.primary[:])
	for s, n := range lens {
		if n == 0 {
			continue
		}
		d.symbols[next[n]] = uint16(s)
		c := d.first[n] + next[n] - d.start[n]
		next[n]++
		if n > primaryBits {
			continue
		}
		for i := int(bits.Reverse16(c) >> (16 - n)); i < len(d.primary); i += 1 << n {
			d.primary[i] = uint16(s)<<4 | uint16(n)
		}
	}
	return nil
}

// long decodes a code that is longer than primaryBits. It returns the symbol and
// its length, which is 0 if there is no such code.
func (d *decoder) long(b uint64) (int, uint) {
	c := uint16(bits.Reverse16(uint16(b)) >> (16 - primaryBits))
	for n := primaryBits + 1; n <= maxBits; n++ {
		c = c<<1 | uint16(b>>(n-1))&1
		if i := c - d.first[n]; c >= d.first[n] && i < d.count[n] {
			return int(d.symbols[d.start[n]+i]), uint(n)
		}
	}
	return 0, 0
}

// codes returns the code of each symbol, in the order in which its bits are
// written. The lengths must be those of a valid code.
func codes(lens []uint8, out []uint16) []uint16 {
	var count, next [maxBits + 2]uint16
	for _, n := range lens {
		count[n]++
	}
	count[0] = 0
	for n := 1; n <= maxBits; n++ {
		next[n+1] = (next[n] + count[n]) << 1
	}
	out = slices.Grow(out[:0], len(lens))[:len(lens)]
	for s, n := range lens {
		out[s] = 0
		if n > 0 {
			out[s] = bits.Reverse16(next[n]) >> (16 - n)
			next[n]++
		}
	}
	return out
}

// validCode reports whether the lengths are those of a code that uses no bits
// twice.
func validCode(lens []uint8) bool {
	used := 0
	for _, n := range lens {
		if n > maxBits {
			return false
		}
		if n > 0 {
			used += 1 << (maxBits - n)
		}
	}
	return used <= 1<<maxBits
}

// weight is the count of a symbol, with the symbol in the low 16 bits: weights sort by count, then
// by symbol.
type weight uint64

func (w weight) symbol() int { return int(w & 0xffff) }

func (w weight) count() uint64 { return uint64(w >> 16) }

// optimalLengths returns the lengths of an optimal prefix code of at most limit
// bits for symbols that occur as often as counts says: the package-merge
// algorithm of Larmore and Hirschberg. Two rules make the result unique. Among
// symbols that occur equally often, those first in the alphabet get the longer
// codes. If a symbol and a package have equal weight, the package is taken first.
// A single symbol gets one bit.
//
// Deltas depend on every detail of this function: it is never changed.
func optimalLengths(counts []uint32, limit int, out []uint8) []uint8 {
	out = slices.Grow(out[:0], len(counts))[:len(counts)]
	clear(out)
	var room [numLits]weight
	used := room[:0]
	for s, c := range counts {
		if c > 0 {
			used = append(used, weight(c)<<16|weight(s))
		}
	}
	if len(used) == 1 {
		out[used[0].symbol()] = 1
	}
	if len(used) < 2 {
		return out
	}
	slices.Sort(used)
	// isSymbol[level][i] says whether the i-th item of a level is a symbol, else
	// it is a package of two items of the level before.
	var isSymbol [maxBits][2 * numLits]bool
	var lists [2][2 * numLits]uint64
	var before []uint64
	for level := range limit {
		list := lists[level&1][:0]
		for i, j := 0, 0; i < len(used) || j+1 < len(before); {
			symbol := i < len(used)
			if symbol && j+1 < len(before) {
				symbol = used[i].count() < before[j]+before[j+1]
			}
			isSymbol[level][len(list)] = symbol
			if symbol {
				list = append(list, used[i].count())
				i++
			} else {
				list = append(list, before[j]+before[j+1])
				j += 2
			}
		}
		before = list
	}
	for level, take := limit-1, 2*len(used)-2; level >= 0 && take > 0; level-- {
		symbols := 0
		for _, is := range isSymbol[level][:take] {
			if is {
				out[used[symbols].symbol()]++
				symbols++
			}
		}
		take = 2 * (take - symbols)
	}
	return out
}
