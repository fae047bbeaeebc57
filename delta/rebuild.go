package delta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/dockerarchive/dockerarchive/internal/deflate"
)

// rebuilder makes a gzip file of its text and the streams that a describer wrote.
type rebuilder struct {
	in      *[numStreams]*stream
	p       *prediction
	out     *deflate.Writer
	run     int64 // of tokens that are as predicted; -1: not read yet
	batch   []deflate.Token
	started int64 // where the text of the member begins
}

func newRebuilder(in *[numStreams]*stream, p *prediction, out io.Writer) *rebuilder {
	return &rebuilder{in: in, p: p, out: deflate.NewWriter(out), run: -1}
}

// rebuild writes the file.
func (r *rebuilder) rebuild() error {
	members := r.in[streamMembers]
	buf := make([]byte, 32<<10)
	for {
		n, err := members.uint()
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		for n > 0 {
			p := buf[:min(n, int64(len(buf)))]
			if err := errors.Join(members.read(p), r.out.Bytes(p)); err != nil {
				return err
			}
			n -= int64(len(p))
		}
		if err := r.member(); err != nil {
			return err
		}
	}
	for !members.empty() {
		p := buf[:min(members.left+int64(len(members.buf)-members.pos), int64(len(buf)))]
		if err := errors.Join(members.read(p), r.out.Bytes(p)); err != nil {
			return err
		}
	}
	return r.out.Close()
}

// member writes a member behind its header.
func (r *rebuilder) member() error {
	r.p.updateSum()
	r.p.sum, r.started = 0, r.p.pos
	for {
		flags, err := r.in[streamBlocks].byte()
		if err != nil {
			return err
		}
		if err := r.block(flags); err != nil {
			return err
		}
		if flags&blockFinal != 0 {
			break
		}
	}
	end, err := r.in[streamMembers].byte()
	if err != nil {
		return err
	}
	r.out.Align(end &^ trailerKept)
	var trailer [8]byte
	if end&trailerKept != 0 {
		err = r.in[streamMembers].read(trailer[:])
	} else {
		r.p.updateSum()
		binary.LittleEndian.PutUint32(trailer[:], r.p.sum)
		binary.LittleEndian.PutUint32(trailer[4:], uint32(r.p.pos-r.started))
	}
	return errors.Join(err, r.out.Bytes(trailer[:]))
}

func (r *rebuilder) block(flags byte) error {
	n, err := r.in[streamSizes].uint()
	if err != nil {
		return err
	}
	b := &deflate.Block{Type: int(flags & blockType), Final: flags&blockFinal != 0}
	if b.Type > deflate.Dynamic || flags&^blockFlags[b.Type] != 0 {
		return fmt.Errorf("%w: block", ErrDamaged)
	}
	switch b.Type {
	case deflate.Stored:
		return r.stored(b, n, flags)
	case deflate.Fixed:
		if err := r.written(r.out.Block(b)); err != nil {
			return err
		}
		return r.tokens(n)
	}
	b.Trees = new(deflate.Trees)
	if n > maxPredicted {
		if err := r.trees(b.Trees, flags); err != nil {
			return err
		}
		if err := r.written(r.out.Block(b)); err != nil {
			return err
		}
		return r.tokens(n)
	}
	var counts deflate.Counts
	if err := r.collect(int(n), &counts); err != nil {
		return err
	}
	b.Trees.PredictLengths(&counts)
	if err := r.trees(b.Trees, flags); err != nil {
		return err
	}
	if err := r.written(r.out.Block(b)); err != nil {
		return err
	}
	if err := r.written(r.out.Tokens(r.batch)); err != nil {
		return err
	}
	return r.out.EndBlock()
}

// written tells a delta's invalid output from failed writes.
func (r *rebuilder) written(err error) error {
	if errors.Is(err, deflate.ErrCannotWrite) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// stored writes a stored block of n bytes.
func (r *rebuilder) stored(b *deflate.Block, n int64, flags byte) error {
	var err error
	if flags&blockPad != 0 {
		if b.Pad, err = r.in[streamHeaders].byte(); err != nil {
			return err
		}
	}
	if n >= 1<<16 {
		return fmt.Errorf("%w: stored block", ErrDamaged)
	}
	b.Size = int(n)
	text, err := r.p.bytes(b.Size)
	if err != nil {
		return err
	}
	if err := errors.Join(r.out.Block(b), r.out.Bytes(text)); err != nil {
		return err
	}
	return r.p.advance(b.Size)
}

// trees corrects predicted trees.
func (r *rebuilder) trees(t *deflate.Trees, flags byte) error {
	if flags&blockLengths == 0 {
		lengths := r.in[streamLengths]
		lits, err := lengths.byte()
		if err != nil {
			return err
		}
		dists, err := lengths.byte()
		if err != nil {
			return err
		}
		if t.Lits, err = corrected(lengths, int(lits)+257, t.Lits); err != nil {
			return err
		}
		if t.Dists, err = corrected(lengths, int(dists), t.Dists); err != nil {
			return err
		}
	}
	headers := r.in[streamHeaders]
	switch flags & (blockJoined | blockApart) {
	case blockJoined, blockApart:
		t.Spell(flags&blockJoined != 0)
	case 0:
		n, err := headers.uint()
		if err != nil {
			return err
		}
		if n > 2*320 {
			return fmt.Errorf("%w: code lengths", ErrDamaged)
		}
		t.Runs = make([]byte, n)
		if err := headers.read(t.Runs); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: block", ErrDamaged)
	}
	if err := t.Expand(len(t.Lits), len(t.Dists)); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	t.PredictCode()
	if flags&blockCode == 0 {
		listed, err := headers.byte()
		if err != nil {
			return err
		}
		t.Listed = int(listed)
		code, err := corrected(headers, len(t.Code), t.Code[:])
		if err != nil {
			return err
		}
		copy(t.Code[:], code)
	}
	return nil
}

// corrected reads n differences from the prediction.
func corrected(s *stream, n int, predicted []byte) ([]byte, error) {
	d := make([]byte, n)
	if err := s.read(d); err != nil {
		return nil, err
	}
	for i := range min(n, len(predicted)) {
		d[i] += predicted[i]
	}
	return d, nil
}

// tokens writes n tokens and the end of a block.
func (r *rebuilder) tokens(n int64) error {
	for n > 0 {
		k := int(min(n, 1<<14))
		var counts deflate.Counts
		if err := r.collect(k, &counts); err != nil {
			return err
		}
		if err := r.written(r.out.Tokens(r.batch)); err != nil {
			return err
		}
		n -= int64(k)
	}
	return r.out.EndBlock()
}

// collect reads n tokens into the batch and counts them.
func (r *rebuilder) collect(n int, counts *deflate.Counts) error {
	r.batch = r.batch[:0]
	for len(r.batch) < n {
		if err := r.predicted(n-len(r.batch), counts); err != nil {
			return err
		}
		if len(r.batch) == n {
			break
		}
		t, err := r.explicit()
		if err != nil {
			return err
		}
		counts.Add([]deflate.Token{t})
		r.batch = append(r.batch, t)
	}
	return nil
}

// predicted reads and counts the tokens of a run, at most n, if there is one here.
func (r *rebuilder) predicted(n int, counts *deflate.Counts) error {
	p := r.p
	if p.pos != p.predicted {
		return nil
	}
	if r.run < 0 {
		var err error
		if r.run, err = r.in[streamRuns].uint(); err != nil {
			return err
		}
	}
	for n > 0 && r.run > 0 {
		if _, err := p.peek(); err != nil {
			return err
		}
		k := int(min(int64(n), r.run, int64(len(p.tokens)-p.next)))
		text, i := p.window.buf, int(p.pos-p.window.begin)
		r.batch = append(r.batch, p.tokens[p.next:p.next+k]...)
		batch := r.batch[len(r.batch)-k:]
		for at, t := range batch {
			if !t.IsLiteral() {
				counts.Match(t)
				i += t.Len()
				continue
			}
			if i >= len(text) {
				return fmt.Errorf("%w: more tokens than text", ErrDamaged)
			}
			counts.Literal(text[i])
			batch[at] = deflate.Literal(text[i])
			i++
		}
		p.pos = p.window.begin + int64(i)
		p.predicted = p.pos
		p.next += k
		r.run -= int64(k)
		n -= k
	}
	if n > 0 {
		r.run = -1 // the rest is not as predicted
	}
	return nil
}

// explicit reads a token that is not as predicted.
func (r *rebuilder) explicit() (deflate.Token, error) {
	kind, err := r.in[streamKinds].uint()
	if err != nil {
		return 0, err
	}
	if kind == 0 {
		text, err := r.p.bytes(1)
		if err != nil {
			return 0, err
		}
		return deflate.Literal(text[0]), r.p.advance(1)
	}
	if kind > deflate.MaxMatch-deflate.MinMatch+1 {
		return 0, fmt.Errorf("%w: token", ErrDamaged)
	}
	near, err := r.in[streamNear].byte()
	if err != nil {
		return 0, err
	}
	far, err := r.in[streamFar].byte()
	if err != nil {
		return 0, err
	}
	if far > 127 {
		return 0, fmt.Errorf("%w: token", ErrDamaged)
	}
	n := int(kind) + deflate.MinMatch - 1
	return deflate.Match(n, int(far)<<8|int(near)+1), r.p.advance(n)
}
