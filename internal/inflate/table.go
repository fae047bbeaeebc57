package inflate

import "math/bits"

// A Huffman code is decoded by looking up its next bits in a primary table.
// Codes longer than the primary table's index lead to a second-level table,
// which stands behind the primary one in the same array and is indexed by
// the bits that follow.
//
// An entry, from the low bit:
//
//	0-5    bits to use: the code, and the extra bits of a length or distance
//	7      whether it is a literal
//	8-11   bits of the code alone
//	12-15  flags
//	16-31  literals: the byte
//	       lengths: 9 bits of base, then a mask for the extra bits
//	       distances: the base; the mask follows from the bit counts
//	       second-level tables: the first index
//
// For a second-level table, bits 0-5 are the index bits of the primary table
// and bits 8-11 those of the second one; the entries there count only the
// bits after those of the primary table.
const (
	entryLiteral = 1 << 7
	entrySpecial = 1 << 15 // not a literal, length or distance, but …
	entryTable   = 1 << 14 // … a second-level table,
	entryEnd     = 1 << 13 // … or the end of the block; else invalid
	entryRepeat  = 1 << 12 // in the code for code lengths: repeat the last one

	entryInvalid    = entrySpecial
	entryEndOfBlock = entrySpecial | entryEnd
)

const (
	litBits  = 11 // index bits of the primary table for literals and lengths
	distBits = 8  // and for distances

	maxCode = 15 // bits of the longest code
	endCode = 256

	maxLitCodes  = 286 // literal and length codes that a block may define
	maxDistCodes = 30

	lengthsSize = 512 // more than all of them and the longest repetition
	lengthsMask = lengthsSize - 1

	// A complete code whose second-level part needs k more bits has at
	// least k+1 codes with that prefix, so a table of 1<<k entries takes at
	// most (1<<k)/(k+1) entries for each. That bounds the arrays:
	// 2048 + 288*16/5 < 4096 and 256 + 32*128/8 < 1024.
	litSize  = 4096
	distSize = 1024
)

// The bases and extra bits of lengths (from symbol 257 on) and distances.
var (
	lengthBase = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31,
		35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2,
		3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase = [30]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193,
		257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distExtra = [30]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6,
		7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// litEntries and distEntries are the entries of each symbol, less the code
// length, which is added to both of its fields. The symbols past those that
// exist are in the static code, but may not be used.
var (
	litEntries  = makeLitEntries()
	distEntries = makeDistEntries()
)

func makeLitEntries() (t [288]uint32) {
	for i := range t {
		switch sym := i - endCode - 1; {
		case i < endCode:
			t[i] = uint32(i)<<16 | entryLiteral
		case i == endCode:
			t[i] = entryEndOfBlock
		case sym < len(lengthBase):
			t[i] = lengthEntry(uint32(lengthBase[sym]), uint32(lengthExtra[sym]))
		default:
			t[i] = entryInvalid
		}
	}
	return t
}

// lengthEntry is the entry of a length with extra bits, less its code.
func lengthEntry(base, extra uint32) uint32 { return (1<<extra-1)<<25 | base<<16 | extra }

func makeDistEntries() (t [32]uint32) {
	for i := range t {
		t[i] = entryInvalid
		if i < len(distBase) {
			t[i] = uint32(distBase[i])<<16 | uint32(distExtra[i])
		}
	}
	return t
}

// buildTable makes the table of the code with the given lengths, where
// entries has the entry of each symbol. It returns the length of the
// shortest code.
//
// As everywhere, a code must neither have two meanings for the same bits nor
// none, with two exceptions: a single code of one bit, and no code at all.
// The bits they leave without a meaning are invalid only where they occur.
func buildTable(table []uint32, index uint, lengths []uint8, entries []uint32) (shortest uint, ok bool) {
	var used [288]uint16 // symbols that have a code, found without a branch
	total := 0
	for sym, n := range lengths {
		used[total] = uint16(sym)
		total += int(n+maxCode) >> 4
	}
	var count [maxCode + 1]uint16
	for _, sym := range used[:total] {
		count[lengths[sym]&maxCode]++
	}
	var first [maxCode + 2]uint16 // symbols with shorter codes
	left := 1                     // codes of the current length still to be had
	longest := uint(0)
	for n := uint(1); n <= maxCode; n++ {
		first[n+1] = first[n] + count[n]
		left = left<<1 - int(count[n])
		if left < 0 {
			return 0, false
		}
		if count[n] > 0 {
			longest = n
			if shortest == 0 {
				shortest = n
			}
		}
	}
	if left > 0 && (total > 1 || longest > 1) {
		return 0, false
	}
	if left > 0 {
		for i := range table[:1<<index] {
			table[i] = entryInvalid
		}
		if total == 0 {
			return 0, true
		}
	}

	var sorted [288]uint16 // symbols by length
	next := first
	for _, sym := range used[:total] {
		n := lengths[sym]
		sorted[next[n]] = sym
		next[n]++
	}

	// Fill the primary table in order of length. While the codes have n bits
	// the table has 1<<n entries; it is doubled for the next length.
	code := uint(0)
	i := uint16(0)
	for n := uint(1); n <= index; n++ {
		for ; i < first[n+1]; i++ {
			table[reverse(code, n)] = entries[sorted[i]] + uint32(n|n<<8)
			code++
		}
		if n < index {
			copy(table[1<<n:2<<n], table[:1<<n])
		}
		code <<= 1
	}
	if longest > index {
		buildSecond(table, index, longest, code, &first, &sorted, entries)
	}
	return shortest, true
}

// buildSecond adds the tables for codes longer than the primary table's
// index. code is the first of them, with one bit more than the index.
func buildSecond(table []uint32, index, longest, code uint, first *[maxCode + 2]uint16, sorted *[288]uint16, entries []uint32) {
	end := uint(1) << index
	prefix := ^uint(0)
	var sub []uint32
	for n := index + 1; n <= longest; n++ {
		for i := first[n]; i < first[n+1]; i++ {
			if p := code >> (n - index); p != prefix {
				// As codes are in order of length, the table is as large
				// as the first code for which the prefix is complete.
				prefix = p
				size := n - index
				space := 1<<size - int(first[n+1]-i)
				for space > 0 && size+index < longest {
					size++
					space = space<<1 - int(first[size+index+1]-first[size+index])
				}
				table[reverse(p, index)] = uint32(end)<<16 | entrySpecial | entryTable | uint32(size<<8|index)
				sub = table[end : end+1<<size]
				end += 1 << size
			}
			rest := n - index
			entry := entries[sorted[i]] + uint32(rest|rest<<8)
			for j := reverse(code, n) >> index; j < uint(len(sub)); j += 1 << rest {
				sub[j] = entry
			}
			code++
		}
		code <<= 1
	}
}

// reverse returns the n bits of code in the order in which they are read.
func reverse(code, n uint) uint {
	return uint(bits.Reverse16(uint16(code)) >> (16 - n))
}
