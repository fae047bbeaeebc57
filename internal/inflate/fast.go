package inflate

import "encoding/binary"

const (
	// fastInput is how much input the fast loop wants to see at the start of
	// a round: three refills, of which each moves on by at most 7 bytes and
	// looks at 8.
	fastInput = 24

	reasonDistanceCode = "invalid distance code"
	reasonDistance     = "distance reaches back beyond the start of the data"
)

func (d *decoder) fast() {
	pos, op := d.pos, d.op
	bits, n := d.bits, d.nbits
	inLimit := d.end - fastInput
	reason := ""

	bits |= load64(&d.in, pos) << (n & 63)
	pos += int(7 - n>>3&7)
	n |= 56
	e := d.lit[bits&(1<<litBits-1)]
	for {
		if e&entryLiterals != 0 {
			d.out[op&outMask] = byte(e >> 16)
			op++
			bits >>= e & 63
			n -= uint(e)
			e = d.lit[bits&(1<<litBits-1)]
			if e&entryLiterals != 0 {
				d.out[op&outMask] = byte(e >> 16)
				op++
				bits >>= e & 63
				n -= uint(e)
				e = d.lit[bits&(1<<litBits-1)]
				if e&entryLiterals != 0 {
					d.out[op&outMask] = byte(e >> 16)
					op++
					bits >>= e & 63
					n -= uint(e)
					bits |= load64(&d.in, pos) << (n & 63)
					pos += int(7 - n>>3&7)
					n |= 56
					e = d.lit[bits&(1<<litBits-1)]
					if pos <= inLimit && op < outLimit {
						continue
					}
					break
				}
			}
		}
		if e&entrySpecial != 0 {
			if e&entryTable == 0 {
				break
			}
			s := d.lit[(uint64(e>>16)+bits>>litBits&(1<<(e>>8&15)-1))&(litSize-1)]
			if s&entrySpecial != 0 {
				break
			}
			bits >>= litBits
			n -= litBits
			e = s
			if e&entryLiterals != 0 {
				d.out[op&outMask] = byte(e >> 16)
				op++
				bits >>= e & 63
				n -= uint(e)
				bits |= load64(&d.in, pos) << (n & 63)
				pos += int(7 - n>>3&7)
				n |= 56
				e = d.lit[bits&(1<<litBits-1)]
				if pos <= inLimit && op < outLimit {
					continue
				}
				break
			}
		}
		length := int(e>>16&0x1ff + uint32(bits>>(e>>8&63))&(e>>25))
		bits >>= e & 63
		n -= uint(e)

		if n&63 < 32 {
			bits |= load64(&d.in, pos) << (n & 63)
			pos += int(7 - n>>3&7)
			n |= 56
		}
		e = d.dist[bits&(1<<distBits-1)]
		if e&entrySpecial != 0 {
			if e&entryTable != 0 {
				bits >>= distBits
				n -= distBits
				e = d.dist[(uint64(e>>16)+bits&(1<<(e>>8&15)-1))&(distSize-1)]
			}
			if e&entrySpecial != 0 {
				bits >>= e & 63
				n -= uint(e)
				reason = reasonDistanceCode
				break
			}
		}
		dist := int(e>>16) + int(bits&(1<<(e&63)-1)>>(e>>8&63))
		bits >>= e & 63
		n -= uint(e)

		if uint(dist) > uint(op-d.start) {
			reason = reasonDistance
			break
		}
		bits |= load64(&d.in, pos) << (n & 63)
		pos += int(7 - n>>3&7)
		n |= 56
		e = d.lit[bits&(1<<litBits-1)]

		src, dst := op-dist, op
		op += length
		switch {
		case dist >= 16:
			copy16(&d.out, dst, src)
			copy16(&d.out, dst+16, src+16)
			for dst += 32; dst < op; dst += 16 {
				copy16(&d.out, dst, dst-dist)
			}
		case dist >= 8:
			for ; dst < op; dst += 8 {
				store64(&d.out, dst, loadOut(&d.out, dst-dist))
			}
		default:
			pattern := loadOut(&d.out, src)
			step := 8
			if dist == 1 {
				pattern = pattern & 0xff * 0x0101010101010101
			} else {
				w := uint(dist) * 8
				pattern &= 1<<w - 1
				pattern |= pattern << w
				pattern |= pattern << (2 * w)
				step = int(steps[dist&7])
			}
			for ; dst < op; dst += step {
				store64(&d.out, dst, pattern)
			}
		}
		if pos <= inLimit && op < outLimit {
			continue
		}
		break
	}
	n &= 63
	d.pos, d.op = pos, op
	d.bits, d.nbits = bits&(1<<n-1), n
	if reason != "" {
		d.corrupt(reason)
	}
}

var steps = [8]uint8{8, 8, 8, 6, 8, 5, 6, 7}

func load64(in *[inSize + inSlack]byte, i int) uint64 {
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
