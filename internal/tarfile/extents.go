package tarfile

import (
	"cmp"
	"iter"
	"slices"
)

// extent is a range of a file that is taken: by an entry that is not sealed, or
// for a blob of known size.
type extent struct {
	off, span  int64
	entry      *Entry // nil while there is none
	slot       *Slot  // for which it is taken, until then
	list       *extents
	prev, next *extent
}

func (x *extent) end() int64 { return x.off + x.span }

// extents are those of a file. They do not overlap, and are kept in the order of
// their offsets, so that nothing has to look at those that do not matter.
type extents struct {
	first, last *extent
	reserved    int // those without an entry
	looked      int // how many before has returned; for tests
}

// append adds an extent behind all others.
func (l *extents) append(x *extent) {
	x.list, x.prev, x.next = l, l.last, nil
	if l.last == nil {
		l.first = x
	} else {
		l.last.next = x
	}
	l.last = x
	if x.entry == nil {
		l.reserved++
	}
}

// insert adds an extent between others.
func (l *extents) insert(x *extent) {
	next := l.first
	for next != nil && next.off < x.off {
		next = next.next
	}
	if next == nil {
		l.append(x)
		return
	}
	x.list, x.prev, x.next = l, next.prev, next
	if next.prev == nil {
		l.first = x
	} else {
		next.prev.next = x
	}
	next.prev = x
	if x.entry == nil {
		l.reserved++
	}
}

// fill gives a reserved extent the entry that it is for.
func (x *extent) fill(e *Entry) {
	x.entry, x.slot = e, nil
	x.list.reserved--
}

func (x *extent) remove() {
	l := x.list
	if l == nil {
		return
	}
	if x.prev == nil {
		l.first = x.next
	} else {
		x.prev.next = x.next
	}
	if x.next == nil {
		l.last = x.prev
	} else {
		x.next.prev = x.prev
	}
	if x.entry == nil {
		l.reserved--
	}
	x.list, x.prev, x.next = nil, nil, nil
}

// before returns the extents that begin before off, in order.
func (l *extents) before(off int64) iter.Seq[*extent] {
	return func(yield func(*extent) bool) {
		for x := l.first; x != nil && x.off < off; x = x.next {
			l.looked++
			if !yield(x) {
				return
			}
		}
	}
}

// merge adds the entries that have been moved, to their targets or not yet.
func (l *extents) merge(moves []*move) {
	var all []*extent
	for _, m := range moves {
		if m.entry.place != nil {
			all = append(all, m.entry.place)
		}
	}
	for x := l.first; x != nil; x = x.next {
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b *extent) int { return cmp.Compare(a.off, b.off) })
	l.first, l.last, l.reserved = nil, nil, 0
	for _, x := range all {
		l.append(x)
	}
}

// end returns the first offset, not before off, from which on nothing is taken.
func (l *extents) end(off int64) int64 {
	if l.last == nil {
		return off
	}
	return max(off, l.last.end())
}
