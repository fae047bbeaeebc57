package delta

import (
	"bytes"
	"io"

	"github.com/dockerarchive/dockerarchive/internal/deflate"
)

// How a block is described: its type and, as bits, which parts are as predicted.
const (
	blockType    = 3
	blockFinal   = 1 << 2
	blockLengths = 1 << 3 // code lengths are those predicted
	blockJoined  = 1 << 4 // they are spelled in the usual way, joined
	blockApart   = 1 << 5 // or apart
	blockCode    = 1 << 6 // their own code is that predicted
	blockPad     = 1 << 3 // of a stored block: the bits before its size are not zero
)

// blockFlags are those that a block of a type may have.
var blockFlags = [...]byte{
	deflate.Stored:  blockType | blockFinal | blockPad,
	deflate.Fixed:   blockType | blockFinal,
	deflate.Dynamic: blockType | blockFinal | blockLengths | blockJoined | blockApart | blockCode,
}

// trailerKept is the bit, above those of the padding, of a trailer that is not as
// computed.
const trailerKept = 1 << 7

// maxPredicted is of how many tokens code lengths are predicted. A block of more
// has its lengths as they are, so that no reader needs all of its tokens at once.
const maxPredicted = 1 << 20

// describer writes the streams that make a gzip file of its text.
type describer struct {
	out *streamWriter
	p   *prediction
	run uint64 // of tokens that are as predicted
}

// describe writes how to make the gzip file in r from its text. p walks the text.
func (d *describer) describe(r io.Reader) error {
	z := deflate.NewReader(r)
	for {
		header, ok, err := z.Member()
		if err != nil {
			return err
		}
		if !ok {
			if d.run > 0 {
				d.out.uint(streamRuns, d.run)
			}
			d.out.uint(streamMembers, 0)
			d.out.bytes(streamMembers, header)
			return d.tail(z)
		}
		d.out.uint(streamMembers, uint64(len(header)))
		d.out.bytes(streamMembers, header)
		for final := false; !final; {
			if final, err = d.block(z); err != nil {
				return err
			}
		}
		end, err := z.End()
		if err != nil {
			return err
		}
		if end.Bytes == end.Computed {
			d.out.byte(streamMembers, end.Pad)
		} else {
			d.out.byte(streamMembers, end.Pad|trailerKept)
			d.out.bytes(streamMembers, end.Bytes[:])
		}
	}
}

// tail writes the data after the last member.
func (d *describer) tail(z *deflate.Reader) error {
	p := make([]byte, 32<<10)
	for {
		n, err := z.Rest(p)
		d.out.bytes(streamMembers, p[:n])
		if err == io.EOF {
			return d.out.err
		} else if err != nil {
			return err
		}
		if d.out.err != nil {
			return d.out.err
		}
	}
}

// block writes a block and reports whether it is the final one of its member.
func (d *describer) block(z *deflate.Reader) (final bool, err error) {
	h, err := z.Block()
	if err != nil {
		return false, err
	}
	b := *h
	var counts deflate.Counts
	n := 0
	for done := false; !done; {
		var tokens []deflate.Token
		var text []byte
		if tokens, text, done, err = z.Read(); err != nil {
			return false, err
		}
		if b.Type == deflate.Stored {
			if err := d.p.advance(len(text)); err != nil {
				return false, err
			}
		}
		counts.Add(tokens)
		n += len(tokens)
		if err := d.tokens(tokens); err != nil {
			return false, err
		}
		if d.out.err != nil {
			return false, d.out.err
		}
	}
	flags := byte(b.Type)
	if b.Final {
		flags |= blockFinal
	}
	switch b.Type {
	case deflate.Stored:
		n = b.Size
		if b.Pad != 0 {
			flags |= blockPad
			d.out.byte(streamHeaders, b.Pad)
		}
	case deflate.Dynamic:
		flags |= d.trees(b.Trees, &counts, n)
	}
	d.out.uint(streamSizes, uint64(n))
	d.out.byte(streamBlocks, flags)
	return b.Final, d.out.err
}

// trees writes the parts of a block's trees that are not as predicted.
func (d *describer) trees(t *deflate.Trees, counts *deflate.Counts, tokens int) (flags byte) {
	var p deflate.Trees
	if tokens <= maxPredicted {
		p.PredictLengths(counts)
	}
	if bytes.Equal(p.Lits, t.Lits) && bytes.Equal(p.Dists, t.Dists) {
		flags |= blockLengths
	} else {
		d.out.byte(streamLengths, byte(len(t.Lits)-257))
		d.out.byte(streamLengths, byte(len(t.Dists)))
		d.out.bytes(streamLengths, difference(t.Lits, p.Lits))
		d.out.bytes(streamLengths, difference(t.Dists, p.Dists))
	}
	p.Lits, p.Dists = t.Lits, t.Dists
	if p.Spell(true); bytes.Equal(p.Runs, t.Runs) {
		flags |= blockJoined
	} else if p.Spell(false); bytes.Equal(p.Runs, t.Runs) {
		flags |= blockApart
	} else {
		d.out.uint(streamHeaders, uint64(len(t.Runs)))
		d.out.bytes(streamHeaders, t.Runs)
		p.Runs = t.Runs
	}
	p.PredictCode()
	if p.Code == t.Code && p.Listed == t.Listed {
		flags |= blockCode
	} else {
		d.out.byte(streamHeaders, byte(t.Listed))
		d.out.bytes(streamHeaders, difference(t.Code[:], p.Code[:]))
	}
	return flags
}

// difference returns a less b. Missing bytes of b are zeros.
func difference(a, b []byte) []byte {
	d := bytes.Clone(a)
	for i := range min(len(a), len(b)) {
		d[i] -= b[i]
	}
	return d
}

// tokens writes the tokens that are not as predicted.
func (d *describer) tokens(tokens []deflate.Token) error {
	for len(tokens) > 0 {
		if d.p.pos == d.p.predicted {
			n, err := d.p.follow(tokens)
			if err != nil {
				return err
			}
			d.run += uint64(n)
			if tokens = tokens[n:]; len(tokens) == 0 {
				break
			}
			d.out.uint(streamRuns, d.run)
			d.run = 0
		}
		t := tokens[0]
		tokens = tokens[1:]
		if t.IsLiteral() {
			d.out.byte(streamKinds, 0)
		} else {
			d.out.uint(streamKinds, uint64(t.Len()-deflate.MinMatch+1))
			d.out.byte(streamNear, byte(t.Dist()-1))
			d.out.byte(streamFar, byte((t.Dist()-1)>>8))
		}
		if err := d.p.advance(t.Len()); err != nil {
			return err
		}
	}
	return nil
}
