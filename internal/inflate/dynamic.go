package inflate

// precodeOrder is the order in which the lengths of the codes for code
// lengths are sent.
var precodeOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

const precodeBits = 7

// precodeEntries has an entry for each symbol of the code for code lengths.
var precodeEntries = func() (t [19]uint32) {
	for i := range t {
		t[i] = uint32(i) << 16
	}
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
	// No block ends before its end code, so that many bits must be there
	// whatever comes first. (That decides which literals at the end of a
	// truncated stream still count.)
	d.litShortest = max(d.litShortest, uint(lit[endCode]))
	return true
}

// codeLengths reads the n code lengths of both codes into d.lengths.
func (d *decoder) codeLengths(n int, shortest uint) bool {
	for i := 0; i < n; {
		e, ok := d.entry(d.precode[:], precodeBits, shortest)
		if !ok {
			return false
		}
		if e&entrySpecial != 0 {
			d.corrupt("invalid code length code")
			return false
		}
		sym := e >> 16
		if sym < 16 {
			d.lengths[i] = uint8(sym)
			i++
			continue
		}
		var value uint8
		base, extra := 3, uint(2)
		switch sym {
		case 16:
			if i == 0 {
				d.corrupt("repeated code length without a first one")
				return false
			}
			value = d.lengths[i-1]
		case 17:
			extra = 3
		default:
			base, extra = 11, 7
		}
		if !d.need(extra) {
			d.short()
			return false
		}
		repeat := base + int(d.take(extra))
		if repeat > n-i {
			d.corrupt("too many code lengths")
			return false
		}
		for range repeat {
			d.lengths[i] = value
			i++
		}
	}
	return true
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
