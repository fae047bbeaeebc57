package delta

import "github.com/dockerarchive/dockerarchive/internal/deflate"

// pairBits is the size of hashes.
const pairBits = 15

// A pairSearch looks for matches in two tables: by the hash of four bytes, and by that
// of seven. It is that of klauspost/compress at levels 5 and 6, and so of Go from 1.27
// on.
type pairSearch struct {
	six   bool                  // level 6
	short [1 << pairBits]int64  // by the hash of four bytes: the last place
	long  [1 << pairBits]places // by that of seven
	chunkText
	repeat int // distance of the last match
}

// places are the last two with the same hash.
type places struct{ last, before int64 }

func (p *pairSearch) restart(pos int64) {
	p.origin = pos
	for i := range p.short {
		p.short[i] = nowhere
		p.long[i] = places{nowhere, nowhere}
	}
}

func (p *pairSearch) tokens(text *window, begin, end int64, out []deflate.Token) []deflate.Token {
	p.begin(text, begin, end)
	p.repeat = 1
	for s := p.emitted; s < p.limit; {
		m, next, ok := p.find(s)
		if !ok {
			break
		}
		m = p.extendBack(p.byEnd(m))
		out = p.emit(out, m)
		p.repeat = m.at - m.from
		if s = p.emitted; next >= s {
			s = next + 1
		}
		p.enterMatch(s, m.length, next)
	}
	return p.rest(out)
}

func hash4(x uint64) uint32 { return uint32(x) * 2654435761 >> (32 - pairBits) }

func hash7(x uint64) uint32 { return uint32(x << 8 * 58295818150454627 >> (64 - pairBits)) }

func (p *pairSearch) enterShort(i int) { p.short[hash4(p.load(i))] = p.base + int64(i) }

func (p *pairSearch) enterLong(i int) {
	l := &p.long[hash7(p.load(i))]
	l.last, l.before = p.base+int64(i), l.last
}

func (p *pairSearch) enter(i int) {
	p.enterShort(i)
	p.enterLong(i)
}

// find looks for a match at s or later, and returns the place that it would have
// looked at next.
func (p *pairSearch) find(s int) (m pairMatch, next int, ok bool) {
	skip := 6
	if p.six {
		skip = 7
	}
	for next = s; ; {
		s = next
		next = s + 1 + (s-p.emitted)>>skip
		if next > p.limit {
			return m, next, false
		}
		x := p.load(s)
		h, l := hash4(x), &p.long[hash7(x)]
		short, long := p.short[h], *l
		p.short[h] = p.base + int64(s)
		l.last, l.before = p.base+int64(s), long.last

		if p.reaches(s, long.last) {
			last, okLast := p.matches(s, long.last)
			before, okBefore := p.matches(s, long.before)
			if okLast || okBefore {
				p.enter(next)
				if !okLast || okBefore && p.length(s, before, deflate.MaxMatch) > p.length(s, last, deflate.MaxMatch) {
					last = before
				}
				return p.extend(s, last), next, true
			}
		}
		if from, ok := p.matches(s, short); ok {
			return p.lazy(s, from, next), next, true
		}
	}
}

// lazy chooses between the match of a short hash and those at the next place.
func (p *pairSearch) lazy(s, from, next int) pairMatch {
	best := p.length(s, from, deflate.MaxMatch)
	long := p.long[hash7(p.load(next))]
	p.enter(next)
	better := func(at, start int) bool {
		n := p.length(at, start, deflate.MaxMatch)
		if n > best {
			best = n
			return true
		}
		return false
	}
	if start, ok := p.matches(s+1, p.base+int64(s+1-p.repeat)); p.six && ok && better(s+1, start) {
		return p.extend(s+1, start)
	}
	at := s
	if !p.reaches(next, long.last) {
		return p.extend(at, from)
	}
	if start, ok := p.matches(next, long.last); ok && better(next, start) {
		at, from = next, start
		if !p.six {
			return p.extend(at, from)
		}
	}
	if start, ok := p.matches(next, long.before); ok && better(next, start) {
		at, from = next, start
	}
	return p.extend(at, from)
}

// byEnd looks for a longer match that goes on where m ends. The first two bytes may
// differ.
func (p *pairSearch) byEnd(m pairMatch) pairMatch {
	const differ = 2
	end, at := m.at+m.length, m.at+differ
	if end >= p.limit || !p.six && m.length >= 30 {
		return m
	}
	long := p.long[hash7(p.load(end))]
	try := func(place int64) (reaches bool) {
		from := int(place-p.base) - m.length + differ
		dist := at - from
		if dist > 0 && dist < pairReach && from >= p.first {
			if n := p.length(at, from, len(p.src)); n > m.length {
				m = pairMatch{at, from, n}
			}
		}
		return dist < pairReach
	}
	if try(long.last) && p.six {
		try(long.before)
	}
	return m
}

// enterMatch notes places in a match of so many bytes, after which the search goes on
// at s.
func (p *pairSearch) enterMatch(s, length, next int) {
	switch {
	case p.six && s >= p.limit:
		for i := next + 1; i < len(p.src)-8; i += 2 {
			p.enter(i)
		}
	case p.six:
		for i := next + 1; i < s-1; i += 2 {
			p.enter(i)
			p.enterLong(i + 1)
		}
	case s < p.limit:
		if i := s - length + 1; i < s-1 {
			p.enter(i)
			p.enterLong(i + 1)
			p.enterShort(i + 2)
			for i += 4; i < s-1; i += 3 {
				p.enterLong(i)
				p.enterShort(i + 1)
			}
		}
		p.enter(s - 1)
	}
}
