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
func (g *goFastSearch) enter(all *windowText, shift int32, i int) (from int, ok bool) {
	x := all.load4(i)
	e := &g.table[x*0x1e35a7bd>>(32-goFastBits)]
	from = int(*e - shift)
	*e = int32(i) + shift
	return from, i-from <= deflate.MaxDist && all.load4(from) == x
}

func (g *goFastSearch) tokens(text *window, begin, end int64, out []deflate.Token) []deflate.Token {
	g.renew(text.begin, g.table[:])
	all, size, shift := text.all, int(end-text.begin), g.place(text.begin)
	emitted := int(begin - text.begin)
	limit := size - goFastMargin
	for s := emitted; ; s++ {
		from, ok := 0, false
		for skip := 32; !ok; {
			at, step := s, skip>>5
			if s, skip = s+step, skip+step; s > limit {
				return literals(out, size-emitted)
			}
			if from, ok = g.enter(all, shift, at); ok {
				s = at
			}
		}
		out = literals(out, s-emitted)
		for ok {
			n := all.same(s, from, min(size-s, deflate.MaxMatch))
			out = append(out, deflate.Match(n, s-from))
			s += n
			if emitted = s; s >= limit {
				return literals(out, size-emitted)
			}
			g.enter(all, shift, s-1)
			from, ok = g.enter(all, shift, s)
		}
	}
}
