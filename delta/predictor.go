package delta

import (
	"fmt"
	"hash/crc32"
	"io"

	"github.com/dockerarchive/dockerarchive/internal/deflate"
)

// Predictor is how the tokens of a target are predicted. The predictions are part of the
// format: a predictor never changes, and a better one gets another number.
type Predictor uint8

// Predictors.
const (
	// NoPredictor is that of a target that is not compressed.
	NoPredictor Predictor = 0
	// OldTokens takes the tokens of the bases along the copies.
	OldTokens Predictor = 1
	// Zlib6 and Zlib9 are models of zlib and gzip at these levels.
	Zlib6 Predictor = 2
	Zlib9 Predictor = 3
	// Go6 is a model of Go's compress/flate at its default level, up to Go 1.26.
	Go6 Predictor = 4
	// Go1 is a model of the same at level 1.
	Go1 Predictor = 5
	// Go27 is a model of Go's compress/flate at its default level from Go 1.27 on, and of
	// klauspost/compress at level 6 since 1.15.11.
	Go27 Predictor = 6
	// Klauspost5 is a model of klauspost/compress at its default level since 1.15.11.
	Klauspost5 Predictor = 7
	// Pgzip5 and Pgzip6 are models of pgzip at its default level and at level 6, with the same.
	Pgzip5 Predictor = 8
	Pgzip6 Predictor = 9
	// Go27Level1 is a model of Go's compress/flate at level 1 from Go 1.27 on, and of
	// klauspost/compress at that level.
	Go27Level1 Predictor = 10
	// Igzip2 and Igzip1 are models of igzip at its default level, 2, and at level 1, on x86-64.
	Igzip2 Predictor = 11
	Igzip1 Predictor = 12
)

// models are the predictors that need no tokens of bases, the most usual first.
var models = []Predictor{Go6, Pgzip5, Zlib6, Go1, Go27, Klauspost5, Zlib9, Pgzip6, Go27Level1, Igzip2, Igzip1}

func (p Predictor) known() bool { return p <= Igzip1 }

// String returns the predictor's name.
func (p Predictor) String() string {
	switch p {
	case NoPredictor:
		return "none"
	case OldTokens:
		return "old tokens"
	case Zlib6:
		return "zlib -6"
	case Zlib9:
		return "zlib -9"
	case Go6:
		return "Go -6"
	case Go1:
		return "Go -1"
	case Go27:
		return "Go 1.27 -6"
	case Klauspost5:
		return "klauspost -5"
	case Pgzip5:
		return "pgzip -5"
	case Pgzip6:
		return "pgzip -6"
	case Go27Level1:
		return "Go 1.27 -1"
	case Igzip2:
		return "igzip -2"
	case Igzip1:
		return "igzip -1"
	}
	return "unknown"
}

// start returns a predictor for a text that is made from an old one by copies.
func (p Predictor) start(copies *spanReader, old *oldText) (predictor, error) {
	switch p {
	case Zlib6:
		return newChainModel(zlibRules(6)), nil
	case Zlib9:
		return newChainModel(zlibRules(9)), nil
	case Go6:
		return newChainModel(goRules()), nil
	case Go1:
		return newChunkModel(new(goFastSearch), whole), nil
	case Go27:
		return newChunkModel(&pairSearch{six: true}, whole), nil
	case Go27Level1:
		return newChunkModel(new(fastSearch), whole), nil
	case Klauspost5:
		return newChunkModel(new(pairSearch), whole), nil
	case Pgzip5:
		return newChunkModel(new(pairSearch), pgzipPart), nil
	case Pgzip6:
		return newChunkModel(&pairSearch{six: true}, pgzipPart), nil
	case Igzip2:
		return newIgzipModel(2), nil
	case Igzip1:
		return newIgzipModel(1), nil
	}
	return newOldTokens(copies, old)
}

// predictor predicts the tokens of a text.
type predictor interface {
	// predict appends the tokens that can be predicted from the text up to its window's
	// end; with last, that is the end of the whole text. The values of literals have no
	// meaning. In the end, tokens make a text of the same length.
	predict(text *window, last bool, tokens []deflate.Token) ([]deflate.Token, error)
}

// prediction walks along a text and the tokens that are predicted for it.
type prediction struct {
	text      io.Reader
	predictor predictor
	chunk     []byte
	window    window
	last      bool
	tokens    []deflate.Token
	next      int   // of tokens
	predicted int64 // where the next predicted token begins
	pos       int64 // where the next actual token begins
	summed    int64 // end of the text that sum covers
	sum       uint32
}

func newPrediction(text io.Reader, p predictor) *prediction {
	return &prediction{text: text, predictor: p, chunk: make([]byte, 64<<10)}
}

// peek returns the next predicted token.
func (p *prediction) peek() (deflate.Token, error) {
	for p.next == len(p.tokens) {
		if p.last {
			return 0, fmt.Errorf("%w: more tokens than text", ErrDamaged)
		}
		if err := p.feed(); err != nil {
			return 0, err
		}
	}
	return p.tokens[p.next], nil
}

// feed reads more text.
func (p *prediction) feed() error {
	p.updateSum()
	n, err := io.ReadFull(p.text, p.chunk)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		p.last = true
	} else if err != nil {
		return err
	}
	p.window.add(p.chunk[:n])
	p.tokens, err = p.predictor.predict(&p.window, p.last, p.tokens[:copy(p.tokens, p.tokens[p.next:])])
	p.next = 0
	return err
}

// follow takes tokens for as long as they are as predicted, and returns their number.
func (p *prediction) follow(tokens []deflate.Token) (n int, err error) {
	for p.pos == p.predicted && n < len(tokens) {
		if _, err := p.peek(); err != nil {
			return n, err
		}
		predicted := p.tokens[p.next:]
		predicted = predicted[:min(len(predicted), len(tokens)-n)]
		k, text := 0, 0
		for k < len(predicted) && same(predicted[k], tokens[n+k]) {
			text += predicted[k].Len()
			k++
		}
		p.pos += int64(text)
		p.predicted = p.pos
		p.next += k
		n += k
		if k < len(predicted) {
			break
		}
	}
	return n, nil
}

// take goes on behind the next predicted token, which peek has returned.
func (p *prediction) take() {
	p.predicted += int64(p.tokens[p.next].Len())
	p.next++
}

// advance goes on by n bytes of text, and leaves behind the predicted tokens that
// begin in them.
func (p *prediction) advance(n int) error {
	p.pos += int64(n)
	for p.predicted < p.pos {
		if _, err := p.peek(); err != nil {
			return err
		}
		p.take()
	}
	return nil
}

// bytes returns the next n bytes of the text, n being at most 64 KiB.
func (p *prediction) bytes(n int) ([]byte, error) {
	for p.pos+int64(n) > p.window.end {
		if p.last {
			return nil, fmt.Errorf("%w: more tokens than text", ErrDamaged)
		}
		if err := p.feed(); err != nil {
			return nil, err
		}
	}
	return p.window.slice(p.pos, n), nil
}

// updateSum brings the checksum up to pos, or as far as the text has been read.
func (p *prediction) updateSum() {
	b := p.window.slice(p.summed, int(p.pos-p.summed))
	p.sum = crc32.Update(p.sum, crc32.IEEETable, b)
	p.summed += int64(len(b))
}

// same reports whether two tokens are the same, but for the values of literals.
func same(a, b deflate.Token) bool { return a == b || a.IsLiteral() && b.IsLiteral() }
