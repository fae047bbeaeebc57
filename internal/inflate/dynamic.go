package inflate

// precodeOrder is the order in which the lengths of the codes for code
// lengths are sent.
var precodeOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

const precodeBits = 7

// precodeEntries has the entry of each symbol of the code for code lengths:
// a length as if it were a literal, and repetitions as if they were lengths of
// matches.
var precodeEntries = func() (t [19]uint32) {
	for i := range t {
		t[i] = uint32(i)<<16 | entryLiteral
	}
	t[16] = lengthEntry(3, 2) | entryRepeat
	t[17] = lengthEntry(3, 3)
	t[18] = lengthEntry(11, 7)
	return t
}()

// dynamicTables reads the codes at the head of a dynamic block.
func (d *decoder) dynamicTables() bool {
	d.staticLoaded = false
	if !d.need(14) {
		d.short()
		return false
	}
	nlit := int(d.take(5)) + 257
	ndist := int(d.take(5)) + 1
	nprecode := int(d.take(4)) + 4
	if nlit > maxLitCodes || ndist > maxDistCodes {
		d.corrupt("too many codes")
		return false
	}
	var precode [19]uint8
	for _, sym := range precodeOrder[:nprecode] {
		if !d.need(3) {
			d.short()
			return false
		}
		precode[sym] = uint8(d.take(3))
	}
	shortest, ok := buildTable(d.precode[:], precodeBits, precode[:], precodeEntries[:])
	if !ok {
		d.corrupt("invalid code for code lengths")
		return false
	}
	if !d.codeLengths(nlit+ndist, shortest) {
		return false
	}
	lit, dist := d.lengths[:nlit], d.lengths[nlit:nlit+ndist]
	if d.litShortest, ok = buildTable(d.lit[:], litBits, lit, litEntries[:]); !ok {
		d.corrupt("invalid code for literals and lengths")
		return false
	}
	if d.distShortest, ok = buildTable(d.dist[:], distBits, dist, distEntries[:]); !ok {
		d.corrupt("invalid code for distances")
		return false
	}
	// No block ends before its end code, so that many bits must be there in
	// any case. (That decides which literals at the end of a truncated stream
	// still count.)
	d.litShortest = max(d.litShortest, uint(lit[endCode]))
	return true
}

// codeLengths reads the n code lengths of both codes into d.lengths. A
// repetition may go beyond n, for which d.lengths has room.
func (d *decoder) codeLengths(n int, shortest uint) bool {
	clear(d.lengths[:n])
	i := 0
	for i < n {
		if d.pos <= d.end-8 {
			if i = d.fastLengths(i, n); i >= n {
				break
			}
		}
		e, ok := d.code(d.precode[:], precodeBits, shortest)
		if !ok {
			return false
		}
		if e&entrySpecial != 0 {
			d.corrupt("invalid code length code")
			return false
		}
		if e&entryRepeat != 0 && i == 0 {
			d.corrupt("repeated code length without a first one")
			return false
		}
		extra, ok := d.extra(e)
		if !ok {
			return false
		}
		i = d.addLengths(i, e, extra)
	}
	if i > n {
		d.corrupt("too many code lengths")
		return false
	}
	return true
}

// fastLengths reads code lengths, from the one at i on, for as long as there
// are eight bytes of input for each refill, and returns how many there are
// then. It leaves invalid input to codeLengths.
func (d *decoder) fastLengths(i, n int) int {
	bits, nbits, pos := d.bits, d.nbits, d.pos
reading:
	for i < n && pos <= d.end-8 {
		bits, nbits, pos = d.refill(bits, nbits, pos)
		for range 4 { // symbols of at most 14 bits, for which 56 suffice
			e := d.precode[bits&(1<<precodeBits-1)]
			if i >= n || e&entrySpecial != 0 || e&entryRepeat != 0 && i == 0 {
				break reading
			}
			i = d.addLengths(i, e, int(bits>>(e>>8&15))&int(e>>25))
			bits >>= e & 63
			nbits -= uint(e)
		}
	}
	nbits &= 63
	d.pos, d.bits, d.nbits = pos, bits&(1<<nbits-1), nbits
	return i
}

// addLengths adds the lengths that an entry with these extra bits stands for,
// and returns how many there are then. Zeros are there already.
func (d *decoder) addLengths(i int, e uint32, extra int) int {
	if e&entryLiteral != 0 {
		d.lengths[i&lengthsMask] = uint8(e >> 16)
		return i + 1
	}
	end := i + int(e>>16&0x1ff) + extra
	if e&entryRepeat != 0 {
		for value := d.lengths[(i-1)&lengthsMask]; i < end; i++ {
			d.lengths[i&lengthsMask] = value
		}
	}
	return end
}

// staticTables loads the codes that the format itself defines.
func (d *decoder) staticTables() {
	if d.staticLoaded {
		return
	}
	d.staticLoaded = true
	copy(d.lit[:], static.lit[:])
	copy(d.dist[:], static.dist[:])
	d.litShortest, d.distShortest = 7, 5
}

// static has the tables for static blocks, made once.
var static = func() (t struct {
	lit  [1 << litBits]uint32
	dist [1 << distBits]uint32
}) {
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	buildTable(t.lit[:], litBits, lengths[:], litEntries[:])
	for i := range lengths[:32] {
		lengths[i] = 5
	}
	buildTable(t.dist[:], distBits, lengths[:32], distEntries[:])
	return t
}()
