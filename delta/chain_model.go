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
	rules   chainRules
	head    []int64            // by hash: the last place, or -1
	prev    [historySize]int64 // by place modulo its size: the one before with the same hash
	pos     int64
	base    int64 // places before it are forgotten
	length  int   // of the match found at pos-1
	source  int64 // where that begins
	waiting bool  // the token at pos-1 is not decided yet
}

const historySize = 1 << 15

// chainRules are the differences between encoders.
type chainRules struct {
	hashBits int
	least    int // bytes that are hashed, and of the shortest match
	hash     func(p []byte) uint32
	distance int64 // the largest
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
		hash: func(p []byte) uint32 {
			return (uint32(p[0])<<10 ^ uint32(p[1])<<5 ^ uint32(p[2])) & 0x7fff
		},
		good: 8, lazy: 16, nice: 128, chain: 128}
	if level == 9 {
		r.good, r.lazy, r.nice, r.chain = 32, 258, 258, 4096
	}
	return r
}

// Go's compress/flate at levels -1 and 6, up to Go 1.26.
func goRules() chainRules {
	return chainRules{hashBits: 17, least: 4, distance: historySize, near: 4, goOn: true, slides: true,
		hash: func(p []byte) uint32 { return binary.BigEndian.Uint32(p) * 0x1e35a7bd >> 15 },
		lazy: 16, nice: 128, chain: 128}
}

func newChainModel(r chainRules) *chainModel {
	m := &chainModel{rules: r, head: make([]int64, 1<<r.hashBits), length: r.least - 1}
	for i := range m.head {
		m.head[i] = -1
	}
	return m
}

// margin is how much text must be known behind a place: a match there, one at the
// next, and the hashing in them.
const margin = 2*deflate.MaxMatch + 8

func (m *chainModel) predict(text *window, last bool, tokens []deflate.Token) ([]deflate.Token, error) {
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

// insert notes the place pos and returns the last one before with the same hash.
func (m *chainModel) insert(text *window, pos int64) int64 {
	h := m.rules.hash(text.buf[pos-text.begin:])
	before := m.head[h]
	m.prev[pos&(historySize-1)] = before
	m.head[h] = pos
	return before
}

// step looks at one place, and predicts no token or one.
func (m *chainModel) step(text *window, tokens []deflate.Token) []deflate.Token {
	r := &m.rules
	if r.slides && m.pos-m.base > 2*historySize-262 && text.end-m.base > 2*historySize {
		m.base += historySize
	}
	left := text.end - m.pos
	before := int64(-1)
	if left >= int64(r.least) {
		before = m.insert(text, m.pos)
	}
	length, source := m.length, m.source
	m.length = r.least - 1
	if m.valid(before) && length < r.lazy && left > int64(length) {
		m.longest(text, before, length)
	}
	if length >= r.least && m.length <= length { // the match at the place before is as good
		tokens = append(tokens, deflate.Match(length, int(m.pos-1-source)))
		end := m.pos - 1 + int64(length)
		for m.pos++; m.pos < end; m.pos++ {
			if text.end-m.pos >= int64(r.least) {
				m.insert(text, m.pos)
			}
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

// valid reports whether a match may begin at a place.
func (m *chainModel) valid(place int64) bool {
	return place >= m.base && m.pos-place <= m.rules.distance && (place > 0 || place == 0 && !m.rules.noOrigin)
}

// longest looks for the longest match at m.pos along the chain that begins with
// place. It must be longer than the match at the place before, except with Go.
func (m *chainModel) longest(text *window, place int64, found int) {
	r := &m.rules
	at := text.buf[m.pos-text.begin:]
	at = at[:min(len(at), deflate.MaxMatch)]
	best, tries := r.least-1, r.chain
	if r.good > 0 {
		best = max(best, found)
		if found >= r.good {
			tries >>= 2
		}
	}
	nice := min(r.nice, len(at))
	for ; tries > 0 && best < len(at); tries-- {
		b := text.buf[place-text.begin:][:len(at)]
		if b[best] == at[best] {
			n := matchLen(b, at)
			if n > best && (n > r.near || !r.goOn || m.pos-place <= 4096) {
				best, m.source = n, place
				m.length = n
				if n >= nice {
					break
				}
			}
		}
		next := m.prev[place&(historySize-1)]
		if next >= place || !m.within(next) {
			break
		}
		place = next
	}
	if !r.goOn && m.length == r.near && m.pos-m.source > 4096 {
		m.length = r.least - 1
	}
}

// within reports whether the chain goes on with a place. It ends one byte earlier
// than the first place may be, with zlib.
func (m *chainModel) within(place int64) bool {
	d := m.pos - place
	return m.valid(place) && (m.rules.slides || d < m.rules.distance)
}
