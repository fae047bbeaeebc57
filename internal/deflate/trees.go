package deflate

import (
	"errors"
	"slices"
)

// Trees are the prefix codes of a block and how its header spells them.
type Trees struct {
	Lits  []uint8 // code lengths of literals, the end of the block, and lengths: 257 to 286
	Dists []uint8 // of distances: 1 to 30
	// Runs spells Lits and then Dists: bytes below 16 are lengths; 16, 17 and 18 have
	// their repeat count, as it is written, behind them.
	Runs []byte
	// Code has the lengths of the code of Runs by symbol. Listed (4 to 19) of them,
	// in the order of RFC 1951, are in the header.
	Code   [19]uint8
	Listed int
}

var codeOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// How a symbol of Runs repeats: by how many bits, and at least how often.
var runBits, runLeast = [3]uint{2, 3, 7}, [3]int{3, 3, 11}

var fixedTrees = func() *Trees {
	t := &Trees{Lits: make([]uint8, numLits+2), Dists: make([]uint8, numDists)}
	for i := range t.Lits {
		switch {
		case i < 144:
			t.Lits[i] = 8
		case i < 256:
			t.Lits[i] = 9
		case i < 280:
			t.Lits[i] = 7
		default:
			t.Lits[i] = 8
		}
	}
	for i := range t.Dists {
		t.Dists[i] = 5
	}
	return t
}()

var errTrees = errors.New("invalid code lengths")

// Expand sets Lits and Dists to what Runs spells; the first lits are for literals and
// lengths. It fails if the result is no valid pair of codes.
func (t *Trees) Expand(lits, dists int) error {
	if lits < endOfBlock+1 || lits > numLits || dists < 1 || dists > numDists {
		return errTrees
	}
	total := lits + dists
	lens := make([]uint8, 0, total)
	for r := t.Runs; len(r) > 0; {
		s := r[0]
		if s < 16 {
			lens = append(lens, s)
			r = r[1:]
		} else {
			if s > 18 || len(r) < 2 || s == 16 && len(lens) == 0 || r[1]>>runBits[s-16] != 0 {
				return errTrees
			}
			value := uint8(0)
			if s == 16 {
				value = lens[len(lens)-1]
			}
			for range int(r[1]) + runLeast[s-16] {
				lens = append(lens, value)
			}
			r = r[2:]
		}
		if len(lens) > total {
			return errTrees
		}
	}
	if len(lens) != total {
		return errTrees
	}
	t.Lits, t.Dists = lens[:lits:lits], lens[lits:]
	return t.check()
}

// check reports codes that cannot be written.
func (t *Trees) check() error {
	if !validCode(t.Lits) || !validCode(t.Dists) || !validCode(t.Code[:]) || t.Lits[endOfBlock] == 0 {
		return errTrees
	}
	return nil
}

// Check reports trees that no header can hold.
func (t *Trees) Check() error {
	if t.Listed < 4 || t.Listed > len(codeOrder) {
		return errTrees
	}
	for i, s := range codeOrder {
		if n := t.Code[s]; n > 7 || i >= t.Listed && n != 0 {
			return errTrees
		}
	}
	for r := t.Runs; len(r) > 0; r = r[1:] {
		if t.Code[r[0]] == 0 {
			return errTrees
		}
		if r[0] >= 16 {
			r = r[1:]
		}
	}
	return t.check()
}

// Spell sets Runs to the code lengths in the usual spelling, in which runs are as
// long as possible. With joined, runs go on from literals to distances, as Go's
// encoder has it; else not, as in zlib. Deltas depend on it: it is never changed.
func (t *Trees) Spell(joined bool) {
	t.Runs = t.Runs[:0]
	if joined {
		t.Runs = spell(slices.Concat(t.Lits, t.Dists), t.Runs)
	} else {
		t.Runs = spell(t.Dists, spell(t.Lits, t.Runs))
	}
}

func spell(lens []uint8, out []byte) []byte {
	for len(lens) > 0 {
		value, n := lens[0], 1
		for n < len(lens) && lens[n] == value {
			n++
		}
		lens = lens[n:]
		if value != 0 {
			out = append(out, value)
			n--
			for ; n >= 3; n -= min(n, 6) {
				out = append(out, 16, byte(min(n, 6)-3))
			}
		} else {
			for ; n >= 11; n -= min(n, 138) {
				out = append(out, 18, byte(min(n, 138)-11))
			}
			if n >= 3 {
				out = append(out, 17, byte(n-3))
				n = 0
			}
		}
		for range n {
			out = append(out, value)
		}
	}
	return out
}

// PredictCode sets Code and Listed to what is best for Runs.
func (t *Trees) PredictCode() {
	var counts [19]uint32
	for r := t.Runs; len(r) > 0; r = r[1:] {
		counts[r[0]]++
		if r[0] >= 16 {
			r = r[1:]
		}
	}
	copy(t.Code[:], optimalLengths(counts[:], 7, nil))
	for t.Listed = len(codeOrder); t.Listed > 4 && t.Code[codeOrder[t.Listed-1]] == 0; {
		t.Listed--
	}
}

// Counts is how often the symbols of a block occur.
type Counts struct {
	lits  [numLits]uint32
	dists [numDists]uint32
}

// Add counts tokens.
func (c *Counts) Add(tokens []Token) {
	for _, t := range tokens {
		if t.IsLiteral() {
			c.Literal(t.Byte())
		} else {
			c.Match(t)
		}
	}
}

// Literal counts a literal.
func (c *Counts) Literal(b byte) { c.lits[b]++ }

// Match counts a match.
func (c *Counts) Match(t Token) {
	c.lits[endOfBlock+1+int(lengthOf(t.Len()))]++
	c.dists[distOf(t.Dist())]++
}

// PredictLengths sets Lits and Dists to the best code lengths for what was
// counted and one end of the block. Lits has at least 257 entries, Dists one, and
// their last entries beyond that are not zero.
func (t *Trees) PredictLengths(c *Counts) {
	c.lits[endOfBlock] = 1
	t.Lits = optimalLengths(c.lits[:], maxBits, t.Lits)
	t.Dists = optimalLengths(c.dists[:], maxBits, t.Dists)
	t.Lits = trimmed(t.Lits, endOfBlock+1)
	t.Dists = trimmed(t.Dists, 1)
}

func trimmed(lens []uint8, least int) []uint8 {
	for len(lens) > least && lens[len(lens)-1] == 0 {
		lens = lens[:len(lens)-1]
	}
	return lens
}
