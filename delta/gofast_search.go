package delta

import "github.com/dockerarchive/dockerarchive/internal/deflate"

const (
	goFastBits = 14
	// goFastMargin is how far from the end of a chunk the search ends.
	goFastMargin = 15
)

// A goFastSearch looks for matches in one table, by the hash of four bytes. It is that
// of Go's compress/flate at level 1, up to Go 1.26.
type goFastSearch struct {
	places
	table [1 << goFastBits]int32 // the last place
}

func (g *goFastSearch) restart(int64) { forget(g.table[:]) }

// enter notes the place of index i. It returns the index of the previous place with the same
// hash, and whether a match may begin there.
func (g *goFastSearch) enter(src []byte, shift int32, i int) (from int, ok bool) {
	x := load4(src, i)
	e := &g.table[x*0x1e35a7bd>>(32-goFastBits)]
	from = int(*e - shift)
	*e = int32(i) + shift
	return from, i-from <= deflate.MaxDist && load4(src, from) == x
}

func (g *goFastSearch) tokens(text *window, begin, end int64, out []deflate.Token) []deflate.Token {
	g.renew(text.begin, g.table[:])
	src, shift := text.buf[:end-text.begin], g.place(text.begin)
	emitted := int(begin - text.begin)
	limit := len(src) - goFastMargin
	for s := emitted; ; s++ {
		from, ok := 0, false
		for skip := 32; !ok; {
			at, step := s, skip>>5
			if s, skip = s+step, skip+step; s > limit {
				return literals(out, len(src)-emitted)
			}
			if from, ok = g.enter(src, shift, at); ok {
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
			g.enter(src, shift, s-1)
			from, ok = g.enter(src, shift, s)
		}
	}
}
