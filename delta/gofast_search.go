package delta

import (
	"encoding/binary"

	"github.com/dockerarchive/dockerarchive/internal/deflate"
)

const (
	goFastBits = 14
	// goFastMargin is how far from the end of a chunk the search ends.
	goFastMargin = 15
)

// A goFastSearch looks for matches in one table, by the hash of four bytes. It is that
// of Go's compress/flate at level 1, up to Go 1.26.
type goFastSearch struct {
	table [1 << goFastBits]int64 // the last place
}

func (g *goFastSearch) restart(int64) {
	for i := range g.table {
		g.table[i] = nowhere
	}
}

// enter notes the place of index i and returns the one before with the same hash,
// and whether a match may begin there.
func (g *goFastSearch) enter(src []byte, base int64, i int) (from int, ok bool) {
	x := binary.LittleEndian.Uint32(src[i:])
	e := &g.table[x*0x1e35a7bd>>(32-goFastBits)]
	from = int(*e - base)
	*e = base + int64(i)
	return from, i-from <= deflate.MaxDist && binary.LittleEndian.Uint32(src[from:]) == x
}

func (g *goFastSearch) tokens(text *window, begin, end int64, out []deflate.Token) []deflate.Token {
	src, base := text.buf[:end-text.begin], text.begin
	emitted := int(begin - base)
	limit := len(src) - goFastMargin
	for s := emitted; ; s++ {
		from, ok := 0, false
		for skip := 32; !ok; {
			at, step := s, skip>>5
			if s, skip = s+step, skip+step; s > limit {
				return literals(out, len(src)-emitted)
			}
			if from, ok = g.enter(src, base, at); ok {
				s = at
			}
		}
		out = literals(out, s-emitted)
		for ok {
			n := matchLen(src[s:min(len(src), s+deflate.MaxMatch)], src[from:])
			out = append(out, deflate.Match(n, s-from))
			s += n
			if emitted = s; s >= limit {
				return literals(out, len(src)-emitted)
			}
			g.enter(src, base, s-1)
			from, ok = g.enter(src, base, s)
		}
	}
}
