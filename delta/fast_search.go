package delta

import "github.com/dockerarchive/dockerarchive/internal/deflate"

// A fastSearch looks for matches in one table of few places, by the hash of five
// bytes. It is that of Go's compress/flate at level 1 from Go 1.27 on, and of
// klauspost/compress at level 1.
type fastSearch struct {
	table [1 << pairBits]int32 // the last place
	chunkText
	next int // where the search would have gone on
}

func (f *fastSearch) restart(pos int64) {
	f.origin = pos
	forget(f.table[:])
}

func hash5(x uint64) uint32 { return uint32(x << 24 * 889523592379 >> (64 - pairBits)) }

// enter notes the place of index i and returns the one before with the same hash.
func (f *fastSearch) enter(i int) (before int32) {
	e := &f.table[hash5(f.all.load(i))]
	before, *e = *e, int32(i)+f.shift
	return before
}

func (f *fastSearch) tokens(text *window, begin, end int64, out []deflate.Token) []deflate.Token {
	f.renew(text.begin, f.table[:])
	f.begin(text, begin, end)
	for s := f.emitted; ; s++ {
		m, ok := f.find(s)
		if !ok {
			break
		}
		for ok {
			m = f.extendBack(f.extend(m.at, m.from, 4))
			out = f.emit(out, m)
			if s = f.emitted; f.next >= s {
				s = f.next + 1
			}
			if s >= f.limit {
				if s+m.length+8 < len(f.src) {
					f.enter(s)
				}
				return f.rest(out)
			}
			f.enter(s - 2)
			before := f.enter(s)
			m.at = s
			if m.from, ok = f.matches(s, before); !ok && int32(s)+f.shift-before == pairReach {
				m.from, ok = f.farthest(s)
			}
		}
	}
	return f.rest(out)
}

// farthest is matches for the place that matches takes to be one too far.
func (f *fastSearch) farthest(s int) (from int, ok bool) {
	return s - pairReach, f.all.load4(s) == f.all.load4(s-pairReach)
}

// find looks for a match at s or later.
func (f *fastSearch) find(s int) (m pairMatch, ok bool) {
	for {
		f.next = s + 2 + (s-f.emitted)>>5
		if f.next > f.limit {
			return m, false
		}
		if from, ok := f.matches(s, f.enter(s)); ok {
			f.enter(f.next)
			return pairMatch{at: s, from: from}, true
		}
		s = f.next
		f.next++
		if from, ok := f.matches(s, f.enter(s)); ok {
			// The place behind is noted under the hash of this one.
			f.table[hash5(f.all.load(s))] = int32(f.next) + f.shift
			return pairMatch{at: s, from: from}, true
		}
		s = f.next
	}
}
