package delta

import (
	"bytes"

	"github.com/dockerarchive/dockerarchive/internal/deflate"
)

// lookBack is how many copies before the current one are looked at for the source
// of a match.
const lookBack = 64

// oldTokens predicts that a copy has the tokens of its source, and everything else
// is literals.
//
// For a copy, it takes the tokens of the base that begin and end in the copied
// range; if that goes from a base into the next, those of the first. A match whose
// source in the base is in the same copy stays as it is. If the source is in one of
// the 64 copies before, and its new text is less than 32 KiB back, the match is
// translated to begin there, if the text there is that of the match; else it also
// stays as it is.
type oldTokens struct {
	spans *spanReader
	old   *oldText
	bases []*tokenReader
	text  *window
	pos   int64 // predicted so far

	recent  []span // those before, which may be sources
	current span
	in      *tokenReader // nil: no tokens in the current copy; literals up to its end
	start   int64        // in's text in the old text
}

// newOldTokens returns a predictor for the copies of spans.
func newOldTokens(spans *spanReader, old *oldText) (*oldTokens, error) {
	o := &oldTokens{spans: spans, old: old}
	for _, b := range old.bases {
		var r *tokenReader
		if b.tokens != nil {
			r = &tokenReader{t: b.tokens}
		}
		o.bases = append(o.bases, r)
	}
	return o, o.nextSpan()
}

// nextSpan goes on to the next copy.
func (o *oldTokens) nextSpan() error {
	if o.current.size > 0 {
		if len(o.recent) >= 2*lookBack {
			o.recent = o.recent[:copy(o.recent, o.recent[len(o.recent)-lookBack:])]
		}
		o.recent = append(o.recent, o.current)
	}
	var err error
	if o.current, err = o.spans.next(); err != nil || o.current.size == 0 {
		o.in = nil
		return err
	}
	o.enter(o.current.old)
	return nil
}

// enter begins with the tokens of a base at pos.
func (o *oldTokens) enter(pos int64) {
	i := 0
	for pos >= o.old.ends[i] {
		i++
	}
	o.start = o.old.ends[i] - o.old.bases[i].TextSize
	if o.in = o.bases[i]; o.in != nil {
		o.in.seek(pos - o.start)
	}
}

func (o *oldTokens) predict(text *window, last bool, tokens []deflate.Token) ([]deflate.Token, error) {
	o.text = text
	until := text.end
	if !last {
		until -= deflate.MaxMatch
	}
	for o.pos < until {
		n, dist := 0, 0
		begin, end := o.current.new, o.current.new+o.current.size
		if o.in != nil {
			n, dist = o.in.peek()
			if o.in.err != nil {
				return nil, o.in.err
			}
			begin = o.current.new + o.start + o.in.pos - o.current.old
		}
		switch {
		case n > 0 && begin+int64(n) <= end: // a token of the copy
			if o.pos < begin {
				tokens = o.literals(min(begin, until), tokens)
				continue
			}
			if dist == 0 {
				k := o.in.skipLiterals(min(end, until) - o.pos)
				tokens = literals(tokens, k)
				o.pos += int64(k)
				continue
			}
			tokens = append(tokens, deflate.Match(n, o.translate(n, dist)))
			o.pos += int64(n)
			o.in.skip()
		case o.current.size == 0: // behind the last copy
			tokens = o.literals(until, tokens)
		default:
			if err := o.nextSpan(); err != nil {
				return nil, err
			}
		}
	}
	return tokens, nil
}

// literals predicts literals up to a position.
func (o *oldTokens) literals(until int64, tokens []deflate.Token) []deflate.Token {
	if o.pos < until {
		tokens = literals(tokens, int(until-o.pos))
		o.pos = until
	}
	return tokens
}

// translate returns how far back the match that is predicted at o.pos begins, which
// in the base began dist back.
func (o *oldTokens) translate(n, dist int) int {
	source := o.start + o.in.pos - int64(dist)
	if source >= o.current.old {
		return dist
	}
	for i := len(o.recent) - 1; i >= max(0, len(o.recent)-lookBack); i-- {
		c := o.recent[i]
		if c.new+c.size <= o.pos-deflate.MaxDist {
			break
		}
		if source < c.old || source >= c.old+c.size {
			continue
		}
		d := o.pos - (c.new + source - c.old)
		k := min(int(min(d, int64(n))), n)
		if d <= deflate.MaxDist && bytes.Equal(o.text.slice(o.pos-d, k), o.text.slice(o.pos, k)) {
			return int(d)
		}
		break
	}
	return dist
}
