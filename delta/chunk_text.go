package delta

import (
	"encoding/binary"

	"github.com/dockerarchive/dockerarchive/internal/deflate"
)

const (
	// pairReach is the distance that matches are less than.
	pairReach = 1 << 15
	// pairMargin is how far from the end of a chunk the search ends.
	pairMargin = 11
	// nowhere is before all that matches reach.
	nowhere = -1 << 40
)

// chunkText is the text that a search goes through, and that before it. Indexes count from
// the beginning of the window.
type chunkText struct {
	origin int64 // nothing before this place is known

	src     []byte // ends with the chunk
	base    int64  // place of index 0
	first   int    // index of origin
	limit   int    // of the search
	emitted int    // up to here, there are tokens
}

// pairMatch is a match in a chunk.
type pairMatch struct{ at, from, length int }

func (c *chunkText) begin(text *window, begin, end int64) {
	c.src, c.base = text.buf[:end-text.begin], text.begin
	c.first, c.emitted = int(c.origin-c.base), int(begin-c.base)
	c.limit = len(c.src) - pairMargin
}

func (c *chunkText) load(i int) uint64 { return binary.LittleEndian.Uint64(c.src[i:]) }

// reaches reports whether a place is near enough for a match at i.
func (c *chunkText) reaches(i int, place int64) bool { return c.base+int64(i)-place < pairReach }

// matches reports whether a match of four bytes at i may begin at a place, and returns the
// position of that.
func (c *chunkText) matches(i int, place int64) (from int, ok bool) {
	from = int(place - c.base)
	return from, c.reaches(i, place) && binary.LittleEndian.Uint32(c.src[i:]) == binary.LittleEndian.Uint32(c.src[from:])
}

// length returns how long the match is, if that matters at most so long.
func (c *chunkText) length(at, from, most int) int {
	return matchLen(c.src[at:min(len(c.src), at+most)], c.src[from:])
}

// extend makes a match as long as possible.
func (c *chunkText) extend(at, from int) pairMatch {
	return pairMatch{at, from, c.length(at, from, len(c.src))}
}

// extendBack begins a match as early as possible.
func (c *chunkText) extendBack(m pairMatch) pairMatch {
	for m.from > c.first && m.at > c.emitted && c.src[m.from-1] == c.src[m.at-1] {
		m.at--
		m.from--
		m.length++
	}
	return m
}

// emit appends a match, and the literals before it. A match may be of any length: it is
// appended in pieces that are long enough.
func (c *chunkText) emit(out []deflate.Token, m pairMatch) []deflate.Token {
	out = literals(out, m.at-c.emitted)
	c.emitted = m.at + m.length
	for length := m.length; length > 0; {
		n := length
		if n > deflate.MaxMatch+deflate.MinMatch {
			n = deflate.MaxMatch
		} else if n > deflate.MaxMatch {
			n = deflate.MaxMatch - deflate.MinMatch
		}
		out = append(out, deflate.Match(n, m.at-m.from))
		length -= n
	}
	return out
}

// rest appends the literals after the last match.
func (c *chunkText) rest(out []deflate.Token) []deflate.Token {
	return literals(out, len(c.src)-c.emitted)
}
