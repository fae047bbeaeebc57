package inflate

import "encoding/binary"

const (
	// fastInput is how much input a round of the fast loop may look at: two
	// refills, and one before the first round. Each moves on by at most 7
	// bytes and looks at 8.
	fastInput = 7 + 7 + 8

	// fastOutput is more than a round may write: two literals and the
	// longest match, or three literals, and up to 32 bytes too much.
	fastOutput = 512

	reasonDistanceCode = "invalid distance code"
	reasonDistance     = "distance reaches back beyond the start of the data"
)

// fast decodes symbols for as long as there is plenty of input and of room
// for output. It also stops before anything that is not a literal or a match,
// which is left to symbol.
//
// It is safe for these reasons.
//
// Input: a round begins only where fastInput bytes of the buffer are left, so
// no refill looks at a byte behind d.end.
//
// Output: a round begins only where op < outLimit, and writes less than
// fastOutput bytes from there, so no write passes outSize.
//
// History: a match is copied only if its distance does not reach back beyond
// d.start. Bytes that a copy reads behind op, or writes behind its length,
// are written again before they count.
//
// Bits: a round begins with at least 56 valid bits. It takes at most two
// literals of the primary table (22) and then a third one (11), or a literal
// or length of a second-level table (15) with its extra bits (5); that leaves
// 14, enough to look up the next entry, before it refills. After a length it
// refills to 56, takes a distance (15 and 13 extra bits), looks up the next
// entry, and refills. An entry that is looked up with fewer valid bits than its
// table's index has is not used.
//
// So none of the masks below changes an index. They are there for the
// compiler, which then needs no bounds checks, and they make sure that even a
// mistake in the above could not reach outside of the decoder's own arrays.
//
// It is fast because a symbol's kind, which no processor can guess well,
// matters as late as possible. While e is still being told apart, its bits
// are used up, the entry of what follows is loaded, from both tables, and its
// literal is stored; if it is none, what comes next overwrites that. (The
// store also keeps the compiler from moving the loads to where they are used.)
// And a refill comes after the load of the next entry, which needs none of the
// bits it adds.
//
// An entry is subtracted from nbits as a whole, as only the low six bits of
// either count; those above are dropped where nbits is used.
func (d *decoder) fast() {
	pos, op := d.pos, d.op
	bits, nbits := d.bits, d.nbits
	inLimit := d.end - fastInput
	reason := ""

	bits, nbits, pos = d.refill(bits, nbits, pos)
	e := d.lit[bits&(1<<litBits-1)]
	for {
		before := bits
		bits >>= e & 63
		nbits -= uint(e)
		next, distance := d.lookup(bits)
		d.out[op&outMask] = byte(e >> 16)
		if literal(e) {
			op++
			e = next
			before = bits
			bits >>= e & 63
			nbits -= uint(e)
			next, distance = d.lookup(bits)
			d.out[op&outMask] = byte(e >> 16)
			if literal(e) {
				op++
				e = next
				before = bits
				bits >>= e & 63
				nbits -= uint(e)
				next, distance = d.lookup(bits)
				d.out[op&outMask] = byte(e >> 16)
				if literal(e) {
					op++
					e = next
					bits, nbits, pos = d.refill(bits, nbits, pos)
					if pos <= inLimit && op < outLimit {
						continue
					}
					break
				}
			}
		}
		if special(e) {
			if e&entryTable == 0 {
				bits, nbits = before, nbits+uint(e)
				break
			}
			second := d.lit[(uint64(e>>16)+bits&(1<<(e>>8&15)-1))&(litSize-1)]
			if special(second) {
				bits, nbits = before, nbits+uint(e)
				break
			}
			e = second
			before = bits
			bits >>= e & 63
			nbits -= uint(e)
			if literal(e) {
				d.out[op&outMask] = byte(e >> 16)
				op++
				e = d.lit[bits&(1<<litBits-1)]
				bits, nbits, pos = d.refill(bits, nbits, pos)
				if pos <= inLimit && op < outLimit {
					continue
				}
				break
			}
			distance = d.dist[bits&(1<<distBits-1)]
		}

		length := int(e>>16&0x1ff + uint32(before>>(e>>8&63))&(e>>25))
		e = distance
		bits, nbits, pos = d.refill(bits, nbits, pos)
		if special(e) {
			if e&entryTable != 0 {
				bits >>= distBits
				nbits -= distBits
				e = d.dist[(uint64(e>>16)+bits&(1<<(e>>8&15)-1))&(distSize-1)]
			}
			if special(e) {
				bits >>= e & 63
				nbits -= uint(e)
				reason = reasonDistanceCode
				break
			}
		}
		dist := int(e>>16) + int(bits&(1<<(e&63)-1)>>(e>>8&63))
		bits >>= e & 63
		nbits -= uint(e)
		if dist > op-d.start {
			reason = reasonDistance
			break
		}
		e = d.lit[bits&(1<<litBits-1)]
		bits, nbits, pos = d.refill(bits, nbits, pos)

		dst := op
		op += length
		switch {
		case dist >= 16:
			copy16(&d.out, dst, dst-dist)
			copy16(&d.out, dst+16, dst+16-dist)
			for dst += 32; dst < op; dst += 16 {
				copy16(&d.out, dst, dst-dist)
			}
		case dist >= 8:
			for ; dst < op; dst += 8 {
				store64(&d.out, dst, loadOut(&d.out, dst-dist))
			}
		default:
			for pattern, step := repeat(loadOut(&d.out, dst-dist), dist); dst < op; dst += step {
				store64(&d.out, dst, pattern)
			}
		}
		if pos <= inLimit && op < outLimit {
			continue
		}
		break
	}

	nbits &= 63
	d.pos, d.op = pos, op
	d.bits, d.nbits = bits&(1<<nbits-1), nbits
	if reason != "" {
		d.corrupt(reason)
	}
}

// literal reports whether an entry is one. Its flag is a sign bit, as is that
// of special: the processor then tests it and branches in one instruction.
func literal(e uint32) bool { return int8(e) < 0 }

// special reports whether an entry is none of a literal, length or distance.
func special(e uint32) bool { return int16(e) < 0 }

// lookup returns the entry of the next symbol, if it is a literal or length,
// and if it is a distance.
func (d *decoder) lookup(bits uint64) (lit, dist uint32) {
	return d.lit[bits&(1<<litBits-1)], d.dist[bits&(1<<distBits-1)]
}

// refill adds whole bytes to bits, so that there are 56 to 63. The bits that
// are loaded above those are loaded again next time.
func (d *decoder) refill(bits uint64, nbits uint, pos int) (uint64, uint, int) {
	return bits | loadIn(&d.in, pos)<<(nbits&63), nbits | 56, pos + 7 - int(nbits>>3&7)
}

// repeat repeats the first dist bytes of v, dist being less than 8, up to
// eight bytes, and returns how many of these are whole repetitions.
func repeat(v uint64, dist int) (pattern uint64, step int) {
	if dist == 1 {
		return v & 0xff * 0x0101010101010101, 8
	}
	n := uint(dist) * 8
	v &= 1<<n - 1
	v |= v << n
	v |= v << (2 * n)
	return v, int([8]uint8{0, 8, 8, 6, 8, 5, 6, 7}[dist&7])
}

// These are plain loads and stores: the compiler sees from the mask that they
// are in range.

func loadIn(in *[inSize + inSlack]byte, i int) uint64 {
	i &= inMask
	return binary.LittleEndian.Uint64(in[i : i+8])
}

func loadOut(out *[outSize + outSlack]byte, i int) uint64 {
	i &= outMask
	return binary.LittleEndian.Uint64(out[i : i+8])
}

func store64(out *[outSize + outSlack]byte, i int, v uint64) {
	i &= outMask
	binary.LittleEndian.PutUint64(out[i:i+8], v)
}

func copy16(out *[outSize + outSlack]byte, dst, src int) {
	dst &= outMask
	src &= outMask
	*(*[16]byte)(out[dst : dst+16]) = *(*[16]byte)(out[src : src+16])
}
