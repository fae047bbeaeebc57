package inflate

// blockHeader reads the header of the next block, and the tables of a
// dynamic one.
func (d *decoder) blockHeader() {
	if !d.need(3) {
		d.short()
		return
	}
	d.blockAt = d.bitOffset()
	d.final = d.take(1) == 1
	d.ahead = inSize
	switch d.take(2) {
	case 0:
		d.ahead = inShort
		d.storedHeader()
	case 1:
		d.staticTables()
		d.state = inCodes
	case 2:
		if d.dynamicTables() {
			d.state = inCodes
		}
	default:
		d.corrupt("unknown block type")
	}
}

// endBlock goes on to what follows a block.
func (d *decoder) endBlock() {
	d.state = atBlock
	if d.final {
		d.state = atTrailer
	}
}

func (d *decoder) storedHeader() {
	d.align()
	if !d.need(32) {
		d.short()
		return
	}
	n := d.take(16)
	if d.take(16) != ^n&0xffff {
		d.corrupt("length of a stored block differs from its complement")
		return
	}
	d.stored = int(n)
	d.state = inStored
	if n == 0 {
		// A sender flushes by way of an empty block: data before it must not
		// wait for data after it.
		d.flushed = true
		d.endBlock()
	}
}

// storedData copies the data of a stored block.
func (d *decoder) storedData() {
	for d.stored > 0 && d.op < outLimit {
		n := d.takeBytes(d.out[d.op:min(d.op+d.stored, outLimit)])
		if n == 0 {
			d.short()
			return
		}
		d.op += n
		d.stored -= n
	}
	if d.stored == 0 {
		d.endBlock()
	}
}

// codesData decodes symbols up to the end of the block or of the room for
// output. The fast loop does nearly all of them. The rest is decoded one by
// one: near the end of the buffered input, and in special cases.
func (d *decoder) codesData() {
	for d.err == nil && d.state == inCodes && d.op < outLimit {
		if d.pos <= d.end-fastInput {
			d.fast()
			if d.err != nil || d.op >= outLimit {
				return
			}
		}
		d.symbol()
	}
}

// symbol decodes one literal, match or end of block.
func (d *decoder) symbol() {
	e, ok := d.code(d.lit[:], litBits, d.litShortest)
	switch {
	case !ok:
	case e&entryLiteral != 0:
		d.out[d.op] = byte(e >> 16)
		d.op++
	case e&entryEnd != 0:
		d.endBlock()
	case e&entrySpecial != 0:
		d.corrupt("invalid literal or length code")
	default:
		if extra, ok := d.extra(e); ok {
			d.match(int(e>>16&0x1ff) + extra)
		}
	}
}

// match decodes the distance of a match, and copies it.
func (d *decoder) match(length int) {
	e, ok := d.code(d.dist[:], distBits, d.distShortest)
	if !ok {
		return
	}
	if e&entrySpecial != 0 {
		d.corrupt(reasonDistanceCode)
		return
	}
	extra, ok := d.extra(e)
	if !ok {
		return
	}
	dist := int(e>>16) + extra
	if dist > d.op-d.start {
		d.corrupt(reasonDistance)
		return
	}
	for range length {
		d.out[d.op] = d.out[d.op-dist]
		d.op++
	}
}

// code decodes the code of the next symbol. Its extra bits are taken by extra.
//
// It never waits for more bits than the code has, or than the shortest code
// has: bits that are not there are zero, and as short codes come before long
// ones in a Huffman code of this kind, that makes no code look longer than it
// is.
func (d *decoder) code(table []uint32, index, shortest uint) (e uint32, ok bool) {
	for {
		d.topUp()
		if d.nbits >= shortest {
			e = table[d.bits&(1<<index-1)]
			used := uint(0)
			if e&entryTable != 0 {
				used = index
				e = table[uint64(e>>16)+d.bits>>index&(1<<(e>>8&15)-1)]
			}
			if used += uint(e >> 8 & 15); used <= d.nbits {
				d.take(used)
				return e, true
			}
		}
		if !d.fill() {
			d.short()
			return 0, false
		}
	}
}

// extra takes the extra bits of a symbol whose code has been taken.
func (d *decoder) extra(e uint32) (bits int, ok bool) {
	n := uint(e&63 - e>>8&15)
	if !d.need(n) {
		d.short()
		return 0, false
	}
	return int(d.take(n)), true
}
