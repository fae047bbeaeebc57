package delta

import (
	"encoding/binary"

	"github.com/dockerarchive/dockerarchive/internal/deflate"
)

// A chainModel predicts the tokens of encoders that look for matches along chains
// of places with the same hash, and that take a match only if the next place has
// no longer one: zlib and gzip, and Go's compress/flate, at their usual levels.
//
// It has been written from how these encoders behave, and is frozen: what it
// predicts is part of the format. docs/format.md has its rules.
type chainModel struct {
	rules chainRules
	places
	head    []int32            // by hash: the last place
	prev    [historySize]int32 // by place modulo its size: the previous place with the same hash
	pos     int64
	base    int64 // positions before it are forgotten
	length  int   // of the match found at pos-1
	source  int   // how far back that begins, from pos-1
	waiting bool  // the token at pos-1 is not decided yet
}

const historySize = 1 << 15

// chainRules are the differences between encoders.
type chainRules struct {
	hashBits int
	least    int // bytes that are hashed, and of the shortest match
	distance int // the largest
	// A match so long ends the search, for the next one and along the chain.
	lazy, nice int
	// With a match of good bytes only a quarter of the chain is followed; 0: never.
	good, chain int
	// A match of near bytes is taken only up to 4096 bytes back; and whether another
	// is looked for then.
	near     int
	goOn     bool
	slides   bool // older places are forgotten in steps, as Go does
	noOrigin bool // nothing matches the very first byte, as in zlib
}

// zlib at levels 6 and 9; gzip is the same.
func zlibRules(level int) chainRules {
	r := chainRules{hashBits: 15, least: 3, distance: historySize - 262, near: 3, noOrigin: true,
		good: 8, lazy: 16, nice: 128, chain: 128}
	if level == 9 {
		r.good, r.lazy, r.nice, r.chain = 32, 258, 258, 4096
	}
	return r
}

// Go's compress/flate at levels -1 and 6, up to Go 1.26.
func goRules() chainRules {
	return chainRules{hashBits: 17, least: 4, distance: historySize, near: 4, goOn: true, slides: true,
		lazy: 16, nice: 128, chain: 128}
}

func newChainModel(r chainRules) *chainModel {
	m := &chainModel{rules: r, head: make([]int32, 1<<r.hashBits), length: r.least - 1}
	forget(m.head)
	return m
}

// margin is how much text must be known behind a place: a match there, one at the
// next, and the hashing in them.
const margin = 2*deflate.MaxMatch + 8

func (m *chainModel) predict(text *window, last bool, tokens []deflate.Token) ([]deflate.Token, error) {
	m.renew(text.begin, m.head, m.prev[:])
	until := text.end
	if !last {
		until -= margin
	}
	for m.pos < until {
		tokens = m.step(text, tokens)
	}
	if last && m.waiting {
		m.waiting = false
		tokens = append(tokens, 0)
	}
	return tokens, nil
}

// insert notes a place, at which the text is p, and returns the previous place with the same
// hash.
func (m *chainModel) insert(p []byte, place int32) int32 {
	var h uint32
	if m.rules.least == 4 {
		h = binary.BigEndian.Uint32(p) * 0x1e35a7bd >> 15
	} else {
		h = (uint32(p[0])<<10 ^ uint32(p[1])<<5 ^ uint32(p[2])) & 0x7fff
	}
	before := m.head[h]
	m.prev[place&(historySize-1)] = before
	m.head[h] = place
	return before
}

// step looks at one place, and predicts no token or one.
func (m *chainModel) step(text *window, tokens []deflate.Token) []deflate.Token {
	r := &m.rules
	if r.slides && m.pos-m.base > 2*historySize-262 && text.end-m.base > 2*historySize {
		m.base += historySize
	}
	at := text.buf[m.pos-text.begin:]
	place, before := m.place(m.pos), int32(nowhere)
	if len(at) >= r.least {
		before = m.insert(at, place)
	}
	length, source := m.length, m.source
	m.length = r.least - 1
	if m.valid(place, before) && length < r.lazy && len(at) > length {
		m.longest(text, before, length)
	}
	if length >= r.least && m.length <= length { // the match at the place before is as good
		tokens = append(tokens, deflate.Match(length, source))
		m.pos++
		for i := 1; i < length-1; i++ {
			if len(at)-i >= r.least {
				m.insert(at[i:], place+int32(i))
			}
			m.pos++
		}
		m.waiting, m.length = false, r.least-1
		return tokens
	}
	if m.waiting {
		tokens = append(tokens, 0)
	}
	m.waiting = true
	m.pos++
	return tokens
}

// valid reports whether a match at one place may begin at another.
func (m *chainModel) valid(at, from int32) bool {
	pos := m.zero + int64(from)
	return pos >= m.base && int(at-from) <= m.rules.distance && (pos > 0 || pos == 0 && !m.rules.noOrigin)
}

// longest looks for the longest match at m.pos along the chain that begins with
// a place. It must be longer than the match at the place before, except with Go.
func (m *chainModel) longest(text *window, from int32, found int) {
	r := &m.rules
	i := int(m.pos - text.begin)
	at := text.buf[i:min(i+deflate.MaxMatch, len(text.buf))]
	best, tries := r.least-1, r.chain
	if r.good > 0 {
		best = max(best, found)
		if found >= r.good {
			tries >>= 2
		}
	}
	place := m.place(m.pos)
	nice := min(r.nice, len(at))
	for ; tries > 0 && best < len(at); tries-- {
		dist := int(place - from)
		b := text.buf[i-dist:][:len(at)]
		if b[best] == at[best] && b[best-1] == at[best-1] {
			n := matchLen(b, at)
			if n > best && (n > r.near || !r.goOn || dist <= 4096) {
				best, m.source = n, dist
				m.length = n
				if n >= nice {
					break
				}
			}
		}
		next := m.prev[from&(historySize-1)]
		if next >= from || !m.within(place, next) {
			break
		}
		from = next
	}
	if !r.goOn && m.length == r.near && m.source > 4096 {
		m.length = r.least - 1
	}
}

// within reports whether the chain goes on with a place. It ends one byte earlier
// than the first place may be, with zlib.
func (m *chainModel) within(at, from int32) bool {
	return m.valid(at, from) && (m.rules.slides || int(at-from) < m.rules.distance)
}
