package delta

import "github.com/dockerarchive/dockerarchive/internal/deflate"

const (
	// pairReach is the distance that matches are less than.
	pairReach = 1 << 15
	// pairMargin is how far from the end of a chunk the search ends.
	pairMargin = 11
)

// chunkText is the text that a search goes through, and that before it. Indexes count from
// the beginning of the window, places from zero.
type chunkText struct {
	places
	origin int64 // nothing before this position of the text is known

	all     *windowText
	src     []byte // the part of it that ends with the chunk
	shift   int32  // the place of index 0
	first   int    // index of origin, or 0
	limit   int    // of the search
	emitted int    // up to here, there are tokens
}

// pairMatch is a match in a chunk.
type pairMatch struct{ at, from, length int }

func (c *chunkText) begin(text *window, begin, end int64) {
	c.all, c.src, c.shift = text.all, text.buf[:end-text.begin], c.place(text.begin)
	c.first, c.emitted = int(max(c.origin-text.begin, 0)), int(begin-text.begin)
	c.limit = len(c.src) - pairMargin
}

// reaches reports whether a place is near enough for a match at i.
func (c *chunkText) reaches(i int, place int32) bool { return int32(i)+c.shift-place < pairReach }

// matches reports whether a match of four bytes at i may begin at a place, and returns the
// place's index.
func (c *chunkText) matches(i int, place int32) (from int, ok bool) {
	from = int(place - c.shift)
	return from, c.reaches(i, place) && c.all.load4(i) == c.all.load4(from)
}

// length returns the length of the match, at most that of a single token.
func (c *chunkText) length(at, from int) int {
	return c.all.same(at, from, min(len(c.src)-at, deflate.MaxMatch))
}

// extend makes a match as long as possible. Its first known bytes are known to match.
func (c *chunkText) extend(at, from, known int) pairMatch {
	return pairMatch{at, from, known + c.all.same(at+known, from+known, len(c.src)-at-known)}
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
