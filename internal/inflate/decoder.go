package inflate

import (
	"hash/crc32"
	"io"
)

const (
	// windowSize is how far back a match may reach.
	windowSize = 1 << 15

	// outSize is the size of the output buffer, a power of two like inSize:
	// the window, and what is decoded behind it. It is as large as
	// fits a second-level cache together with the input and the tables.
	outSize = 1 << 18
	outMask = outSize - 1

	// outLimit is where decoding stops for the output to be handed out. A
	// symbol or a round of the fast loop that begins before it has room.
	outLimit = outSize - fastOutput

	// outSlack is what can be stored at any masked index.
	outSlack = 16
)

// The states say what comes next in the input.
const (
	atBlock = iota
	inStored
	inCodes
	atTrailer
)

// decoder is all the state of a Reader.
type decoder struct {
	// out[handed:op] is decoded but not handed out. Matches may reach back
	// to start, where the member began, or to all of the window before op.
	// out[:summed] is included in sum.
	op, handed, start, summed int

	err     error // why there is nothing more to decode
	state   int
	final   bool // this block is the last one of the member
	flushed bool // hand out what there is
	stored  int  // bytes left of the stored block

	sum  uint32 // CRC-32 of the member's data, or of its header as it is read
	size uint32 // length of what was summed

	before    int64  // length of the data before out[0]
	blockAt   int64  // where the block began, in bits of the stream
	unsummed  bool   // decoding began within the member, so its checksum is not known
	noteAfter func() // called after each run, unless it is nil

	litShortest, distShortest uint // see code
	staticLoaded              bool // the tables are those of static blocks

	input
	lit     [litSize]uint32
	dist    [distSize]uint32
	precode [1 << precodeBits]uint32
	scratch [maxString]byte // for headers and trailers
	lengths [lengthsSize]uint8
	out     [outSize + outSlack]byte
}

// reset makes d ready for a new stream. Buffers and tables keep what they
// hold: nothing of it can be reached before it is written again.
func (d *decoder) reset(r io.Reader) {
	d.input.reset(r)
	d.op, d.handed, d.before = 0, 0, 0
	d.err, d.noteAfter = nil, nil
	d.memberHeader()
}

// run decodes until there is something to hand out or an error.
func (d *decoder) run() {
	if d.op >= outLimit {
		d.slide()
	}
	d.flushed = false
	for d.err == nil && d.op < outLimit && !(d.flushed && d.op > d.handed) {
		switch d.state {
		case atBlock:
			d.blockHeader()
		case inStored:
			d.storedData()
		case inCodes:
			d.codesData()
		case atTrailer:
			if d.memberTrailer() {
				d.memberHeader()
			}
		}
	}
	d.summarize()
	if d.noteAfter != nil {
		d.noteAfter()
	}
}

// slide moves the window to the front of the buffer.
func (d *decoder) slide() {
	n := d.op - windowSize
	copy(d.out[:], d.out[n:d.op])
	d.op -= n
	d.handed -= n
	d.summed -= n
	d.before += int64(n)
	d.start = max(0, d.start-n)
}

// summarize brings sum and size up to date.
func (d *decoder) summarize() {
	p := d.out[d.summed:d.op]
	d.sum = crc32.Update(d.sum, crc32.IEEETable, p)
	d.size += uint32(len(p))
	d.summed = d.op
}
