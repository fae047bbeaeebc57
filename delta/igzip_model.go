package delta

import (
	"hash/crc32"
	"math/bits"

	"github.com/dockerarchive/dockerarchive/internal/deflate"
)

const (
	// igzipNoHash is the table's entry of a position without a hash.
	igzipNoHash = 1 << 15
	// igzipMost is how much of a match is taken at once. While there are igzipCut bytes of it, the
	// longest possible match is cut off.
	igzipMost = 16 * deflate.MaxMatch
	igzipCut  = 264
	// igzipMargin is how much text must be known behind a position.
	igzipMargin = igzipMost + igzipFar + 16
	// igzipBlock is the size at which a block ends: its tokens, but two literals count as one.
	igzipBlock = 65380
	// igzipPatience is the size of a text without a match after which literals are skipped.
	igzipPatience = 2048
	igzipMaxSkips = 560
)

// An igzipModel predicts the tokens of igzip, the program of Intel's ISA-L, at levels 1 and 2 on
// x86-64. It looks at two positions at a time, each with the last position of the same hash.
//
// It has been written from how this encoder behaves, and is frozen: what it predicts is part of
// the format. docs/format.md has its rules.
type igzipModel struct {
	mask  uint16
	table [igzipNoHash + 1]uint16 // by hash: the last position modulo 65536
	pos   int64
	runs  igzipRuns

	running, searching bool
	first, second      uint16 // hashes of pos and pos+1, or of others behind a skip
	size               int    // of the block
	patience           int64  // until there, without a match
	skips              int64

	text   *window
	tokens []deflate.Token
}

func newIgzipModel(level int) *igzipModel {
	if level == 1 {
		return &igzipModel{mask: 1<<13 - 1}
	}
	return &igzipModel{mask: 1<<15 - 1}
}

// igzipHashes are the parts of a hash, the CRC-32C of four bytes, from zero and not inverted.
var igzipHashes = func() (t [4][256]uint16) {
	table := crc32.MakeTable(crc32.Castagnoli)
	for i, crc := range table {
		for k := 3; k >= 0; k-- {
			t[k][i] = uint16(crc)
			crc = crc>>8 ^ table[byte(crc)]
		}
	}
	return t
}()

func (m *igzipModel) hash(v uint32) uint16 {
	h := &igzipHashes
	return (h[0][byte(v)] ^ h[1][byte(v>>8)] ^ h[2][byte(v>>16)] ^ h[3][v>>24]) & m.mask
}

// hashAt is the hash of the text at a position.
func (m *igzipModel) hashAt(pos int64) uint16 { return m.hash(m.text.all.load4(m.index(pos))) }

func (m *igzipModel) index(pos int64) int { return int(pos - m.text.begin) }

func (m *igzipModel) literals(n int) { m.tokens = literals(m.tokens, n) }

func (m *igzipModel) predict(text *window, last bool, tokens []deflate.Token) ([]deflate.Token, error) {
	m.text, m.tokens = text, tokens
	for m.running || !m.runs.last {
		if m.running {
			m.runs.settle(text.end, last)
		} else if m.running = m.runs.next(m.pos, text.end, last); !m.running {
			break
		}
		if n := 2 * m.runs.end; m.pos == 0 && m.runs.last && int64(m.mask) > n {
			m.mask = 1<<bits.Len64(uint64(n)) - 1
		}
		if !m.run() {
			break
		}
		m.running = false
		if m.runs.last {
			m.finish()
		}
	}
	return m.tokens, nil
}

// run goes on with the current run, and reports whether it ends.
func (m *igzipModel) run() bool {
	limit, known := m.runs.limit(), m.runs.end
	if m.runs.open {
		known = m.text.end - igzipMargin
	}
	for {
		if m.pos > known {
			return false
		}
		if !m.searching {
			if m.pos >= limit {
				return true
			}
			if m.start(); m.pos >= limit {
				return true
			}
			m.searching = true
		}
		for m.searching && m.pos <= known {
			if m.size >= igzipBlock {
				m.searching, m.size = false, 0
			} else if !m.step(limit) {
				m.searching = false
				return true
			}
		}
	}
}

// start begins a search, at the beginning of a run or of a block.
func (m *igzipModel) start() {
	m.patience, m.skips = m.pos+igzipPatience, 0
	m.rehash()
	if m.pos > 0 {
		return
	}
	m.literals(1)
	m.first, m.second = m.second, igzipNoHash
	m.pos++
	m.size++
}

func (m *igzipModel) rehash() { m.first, m.second = m.hashAt(m.pos), m.hashAt(m.pos+1) }

// look enters a position and returns how far back the last one of the same hash is.
func (m *igzipModel) look(hash uint16, pos int64) (dist int) {
	e := &m.table[hash]
	dist = int((uint16(pos)-1-*e)&(igzipHistory-1)) + 1
	*e = uint16(pos)
	return dist
}

// step predicts the tokens of two positions. It reports whether the search goes on.
func (m *igzipModel) step(limit int64) bool {
	pos := m.pos
	dist1, dist2 := m.look(m.first, pos), m.look(m.second, pos+1)
	i := m.index(pos)
	all := m.text.all
	v := all.load(i)
	m.first, m.second = m.hash(uint32(v>>16)), m.hash(uint32(v>>24))
	x := v ^ all.load(i-dist1)
	if x == 0 {
		return m.long(pos, dist1, limit)
	}
	y := all.load(i+1) ^ all.load(i+1-dist2)
	switch {
	case y == 0:
		return m.long(pos+1, dist2, limit)
	case uint32(x) == 0:
		return m.match(pos, bits.TrailingZeros64(x)>>3, dist1, limit)
	case uint32(y) == 0:
		return m.match(pos+1, bits.TrailingZeros64(y)>>3, dist2, limit)
	}
	m.literals(2)
	m.size++
	m.pos += 2
	if m.pos <= limit && m.pos > m.patience {
		return m.skip(limit)
	}
	return m.pos <= limit
}

// match takes a match that begins at the first or second position.
func (m *igzipModel) match(at int64, n, dist int, limit int64) bool {
	second := at > m.pos
	if second {
		m.literals(1)
		m.size++
	}
	m.tokens = append(m.tokens, deflate.Match(n, dist))
	m.size++
	m.table[m.first] = uint16(m.pos + 2)
	m.table[m.second] = uint16(m.pos + 3)
	before := m.pos
	if m.pos = at + int64(n); m.pos > limit {
		return false
	}
	if second {
		m.table[m.hashAt(before+4)] = uint16(before + 4)
	}
	m.patience = m.pos + igzipPatience
	m.skips -= int64(n)
	m.rehash()
	return true
}

// long takes a match of 8 bytes or more.
func (m *igzipModel) long(at int64, dist int, limit int64) bool {
	i := m.index(at)
	most := int(min(m.runs.end-at, igzipMost))
	n := 8 + matchLen(m.text.buf[i+8:i+most], m.text.buf[i+8-dist:])
	if n < igzipCut {
		return m.match(at, min(n, deflate.MaxMatch), dist, limit)
	}
	if at > m.pos {
		m.literals(1)
		m.size++
	}
	m.table[m.first] = uint16(at + 2)
	m.table[m.second] = uint16(at + 3)
	m.pos = at
	for n >= igzipCut {
		m.piece(deflate.MaxMatch, dist)
		n -= deflate.MaxMatch
		if m.size >= igzipBlock {
			return true
		}
	}
	m.piece(min(n, deflate.MaxMatch), dist)
	if m.pos >= limit {
		return false
	}
	for pos := m.pos - 4; pos < m.pos; pos++ {
		m.table[m.hashAt(pos)] = uint16(pos)
	}
	m.rehash()
	return true
}

func (m *igzipModel) piece(n, dist int) {
	m.tokens = append(m.tokens, deflate.Match(n, dist))
	m.pos += int64(n)
	m.size++
}

// skip predicts literals where there have been no matches for long. The hashes that are looked up
// behind them are those of the positions that are skipped.
func (m *igzipModel) skip(limit int64) bool {
	m.skips = min(max(m.skips+1, 0), igzipMaxSkips)
	n := int(2*max(m.skips-512, 0)+32) &^ 31
	if 2*(igzipBlock-m.size) < n || m.runs.end-m.pos < int64(n) {
		for {
			m.literals(2)
			m.size++
			m.pos += 2
			if m.size >= igzipBlock {
				return true
			}
			if m.pos >= limit {
				return false
			}
		}
	}
	m.literals(n)
	m.size += n / 2
	m.pos += int64(n)
	m.patience = m.pos + igzipPatience>>min(m.skips, 63)
	return m.pos < limit
}

// finish predicts the end of the text, one position after the other.
func (m *igzipModel) finish() {
	end := m.runs.end - 3
	src := m.text.buf
	for m.pos < end {
		pos := m.pos
		hash := m.hashAt(pos)
		dist := int(uint16(pos) - m.table[hash])
		m.table[hash] = uint16(pos)
		m.pos++
		if pos == 0 || dist == 0 || dist >= igzipHistory {
			m.literals(1)
			continue
		}
		i := m.index(pos)
		n := matchLen(src[i:min(len(src), i+deflate.MaxMatch)], src[i-dist:])
		if n < 4 {
			m.literals(1)
			continue
		}
		m.tokens = append(m.tokens, deflate.Match(n, dist))
		if m.pos = pos + int64(n); m.pos < end {
			m.table[m.hashAt(pos+1)] = uint16(pos + 1)
			m.table[m.hashAt(pos+2)] = uint16(pos + 2)
		}
	}
	m.literals(int(m.runs.end - m.pos))
	m.pos = m.runs.end
}
