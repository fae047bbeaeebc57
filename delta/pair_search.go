package delta

import "github.com/dockerarchive/dockerarchive/internal/deflate"

// pairBits is the size of hashes.
const pairBits = 15

// A pairSearch looks for matches in two tables: by the hash of four bytes, and by that
// of seven. It is that of klauspost/compress at levels 5 and 6, and so of Go from 1.27
// on.
type pairSearch struct {
	six   bool                 // level 6
	short [1 << pairBits]int32 // by the hash of four bytes: the last place
	long  [2 << pairBits]int32 // by the hash of seven bytes: the last two places
	chunkText
	repeat int // distance of the last match
}

func (p *pairSearch) restart(pos int64) {
	p.origin = pos
	forget(p.short[:])
	forget(p.long[:])
}

func (p *pairSearch) tokens(text *window, begin, end int64, out []deflate.Token) []deflate.Token {
	p.renew(text.begin, p.short[:], p.long[:])
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

// enterShort and enterLong note a place at which the text is x.
func (p *pairSearch) enterShort(x uint64, place int32) { p.short[hash4(x)] = place }

func (p *pairSearch) enterLong(x uint64, place int32) {
	h := hash7(x) << 1
	p.long[h|1] = p.long[h]
	p.long[h] = place
}

func (p *pairSearch) enter(x uint64, place int32) {
	p.enterShort(x, place)
	p.enterLong(x, place)
}

// find looks for a match at s or later, and returns the index that it would have
// looked at next.
func (p *pairSearch) find(s int) (m pairMatch, next int, ok bool) {
	skip := 6
	if p.six {
		skip = 7
	}
	all, shift, emitted, limit := p.all, p.shift, p.emitted, p.limit
	for next = s; ; {
		s = next
		next = s + 1 + (s-emitted)>>skip
		if next > limit {
			return m, next, false
		}
		x := all.load(s)
		place := int32(s) + shift
		h, l := hash4(x), hash7(x)<<1
		short, last, before := p.short[h], p.long[l], p.long[l|1]
		p.short[h], p.long[l], p.long[l|1] = place, place, last

		if place-last < pairReach {
			from := int(last - shift)
			if all.load4(from) != uint32(x) {
				if from, ok = p.matches(s, before); ok {
					p.enter(all.load(next), int32(next)+shift)
					return p.extend(s, from, 4), next, true
				}
			} else {
				p.enter(all.load(next), int32(next)+shift)
				return p.longer(s, from, before), next, true
			}
		}
		if place-short < pairReach {
			if from := int(short - shift); all.load4(from) == uint32(x) {
				return p.lazy(s, from, next), next, true
			}
		}
	}
}

// longer returns the longer of two matches at s: the one from index from, and the one from place,
// which may not match.
func (p *pairSearch) longer(s, from int, place int32) pairMatch {
	n := p.length(s, from)
	if other, ok := p.matches(s, place); ok {
		if k := p.length(s, other); k > n {
			from, n = other, k
		}
	}
	return p.extend(s, from, n)
}

// lazy chooses between the match by a short hash and the matches at the next index.
func (p *pairSearch) lazy(s, from, next int) pairMatch {
	best := p.length(s, from)
	x := p.all.load(next)
	h := hash7(x) << 1
	last, before := p.long[h], p.long[h|1]
	p.enter(x, int32(next)+p.shift)
	if p.six {
		if start, ok := p.matches(s+1, int32(s+1-p.repeat)+p.shift); ok {
			if n := p.length(s+1, start); n > best {
				return p.extend(s+1, start, n)
			}
		}
	}
	if !p.reaches(next, last) {
		return p.extend(s, from, best)
	}
	at := s
	if start, ok := p.matches(next, last); ok {
		if n := p.length(next, start); n > best {
			at, from, best = next, start, n
			if !p.six {
				return p.extend(at, from, best)
			}
		}
	}
	if start, ok := p.matches(next, before); ok {
		if n := p.length(next, start); n > best {
			at, from, best = next, start, n
		}
	}
	return p.extend(at, from, best)
}

// byEnd looks for a longer match that goes on where m ends. The first two bytes may
// differ.
func (p *pairSearch) byEnd(m pairMatch) pairMatch {
	end := m.at + m.length
	if end >= p.limit || !p.six && m.length >= 30 {
		return m
	}
	h := hash7(p.all.load(end)) << 1
	last, before := p.long[h], p.long[h|1]
	const differ = 2
	at := m.at + differ
	try := func(place int32) (reaches bool) {
		from := int(place-p.shift) - m.length + differ
		if at-from >= pairReach {
			return false
		}
		if at > from && from >= p.first && at+m.length < len(p.src) && p.src[at+m.length] == p.src[from+m.length] {
			if n := p.all.same(at, from, len(p.src)-at); n > m.length {
				m = pairMatch{at, from, n}
			}
		}
		return true
	}
	if try(last) && p.six {
		try(before)
	}
	return m
}

// enterMatch notes places in a match of so many bytes, after which the search goes on
// at s.
func (p *pairSearch) enterMatch(s, length, next int) {
	all, size, shift := p.all, len(p.src), p.shift
	switch {
	case p.six && s >= p.limit:
		for i := next + 1; i < size-8; i += 2 {
			p.enter(all.load(i), int32(i)+shift)
		}
	case p.six:
		for i := next + 1; i < s-1; i += 2 {
			x := all.load(i)
			p.enter(x, int32(i)+shift)
			p.enterLong(x>>8, int32(i+1)+shift)
		}
	case s < p.limit:
		if i := s - length + 1; i < s-1 {
			x := all.load(i)
			p.enter(x, int32(i)+shift)
			p.enterLong(x>>8, int32(i+1)+shift)
			p.enterShort(x>>16, int32(i+2)+shift)
			for i += 4; i < s-1; i += 3 {
				x := all.load(i)
				p.enterLong(x, int32(i)+shift)
				p.enterShort(x>>8, int32(i+1)+shift)
			}
		}
		p.enter(all.load(s-1), int32(s-1)+shift)
	}
}
