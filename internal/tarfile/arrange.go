package tarfile

import (
	"cmp"
	"context"
	"io"
	"slices"
)

// move is an entry that has to go to another place.
type move struct {
	entry *Entry
	to    int64
	// The number of moves that have to be made before this one, because their entries
	// stand in its target, and the moves that wait for this one.
	blocked int
	waiting []*move
	done    bool
	aside   bool // at an interim place
}

func (m *move) end() int64 { return m.to + m.entry.span }

// planLocked returns where the archive ends once entries, in their order, stand at
// the sealed end of the file with extra bytes after them, and the moves for that:
// entries in a wrong place, and others in their way. The moves are in the order of
// their targets.
func (w *FileWriter) planLocked(entries []*Entry, extra int64) (end int64, moves []*move) {
	end = w.sealed
	wanted := make(map[*Entry]struct{}, len(entries))
	for _, e := range entries {
		wanted[e] = struct{}{}
		if e.place == nil || e.place.off != end {
			moves = append(moves, &move{entry: e, to: end})
		}
		end += e.span
	}
	end += extra
	free := w.extents.end(end)
	for x := range w.extents.before(end) {
		if _, ok := wanted[x.entry]; !ok && x.entry != nil {
			moves = append(moves, &move{entry: x.entry, to: free})
			free += x.span
		}
	}
	return end, moves
}

// arrangeLocked makes the moves, each entry once, unless entries stand in each
// other's places. If ctx ends, it stops between two moves. Those that were to
// stand before end have no extent afterwards.
func (w *FileWriter) arrangeLocked(ctx context.Context, moves []*move, end int64) error {
	if len(moves) == 0 {
		return nil
	}
	free := max(w.extents.end(end), moves[len(moves)-1].end())
	inFile := order(moves)
	for _, m := range inFile {
		m.entry.place.remove()
	}
	err := w.makeMovesLocked(ctx, moves, inFile, free)
	if err != nil {
		w.extents.merge(moves)
		return err
	}
	for _, m := range moves {
		if m.to >= end { // The bytes before are not taken but sealed.
			w.extents.append(m.entry.place)
		}
	}
	return nil
}

func (w *FileWriter) makeMovesLocked(ctx context.Context, moves, inFile []*move, free int64) error {
	var ready []*move
	for _, m := range moves {
		if m.blocked == 0 {
			ready = append(ready, m)
		}
	}
	for left := len(moves); left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var m *move
		if len(ready) > 0 {
			m, ready = ready[0], ready[1:]
			if err := w.moveLocked(m.entry, m.to); err != nil {
				return err
			}
			m.done = true
			left--
		} else { // Each stands in the way of another: put one aside.
			for inFile[0].done || inFile[0].aside {
				inFile = inFile[1:]
			}
			m = inFile[0]
			if err := w.moveLocked(m.entry, free); err != nil {
				return err
			}
			free += m.entry.span
			m.aside = true
		}
		for _, other := range m.waiting {
			if other.blocked--; other.blocked == 0 {
				ready = append(ready, other)
			}
		}
		m.waiting = nil // At its new place, it is in nobody's way.
	}
	return nil
}

// order finds out which of the moves have to wait for which, and returns those of
// entries in the file, by offset. An entry may overlap its own old place.
func order(moves []*move) (inFile []*move) {
	for _, m := range moves {
		if m.entry.place != nil {
			inFile = append(inFile, m)
		}
	}
	slices.SortFunc(inFile, func(a, b *move) int { return cmp.Compare(a.entry.place.off, b.entry.place.off) })
	// Neither targets nor places overlap among themselves, so that one walk along both
	// meets all pairs: at most two for each move.
	next := 0
	for _, m := range moves {
		for next < len(inFile) && inFile[next].entry.place.end() <= m.to {
			next++
		}
		for _, other := range inFile[next:] {
			if other.entry.place.off >= m.end() {
				break
			}
			if other != m {
				other.waiting = append(other.waiting, m)
				m.blocked++
			}
		}
	}
	return inFile
}

// moveLocked moves an entry, which may be in spool.
func (w *FileWriter) moveLocked(e *Entry, to int64) error {
	if e.place != nil {
		from := e.place.off
		err := moveRange(w.file, to, w.file, from, e.span)
		e.place.off = to
		if err == nil {
			w.freeExcept(from, e.span, to)
		}
		return err
	}
	if err := moveRange(w.file, to, e.spool, 0, e.span); err != nil {
		return err
	}
	e.place = &extent{off: to, span: e.span, entry: e}
	return e.unspool()
}

// freeExcept gives the space of a range back to the disk, except for bytes that are
// now in the range of the same length at to. The disk may be too full to hold
// everything twice.
func (w *FileWriter) freeExcept(from, n, to int64) {
	end := from + n
	switch {
	case to <= from:
		from = max(from, to+n)
	default:
		end = min(end, to)
	}
	if from < end {
		punch(w.file, from, end-from)
	}
}

const copyBufferSize = 1 << 20

// moveRange copies n bytes between files, or within one. The ranges may overlap.
// The kernel copies if it can.
func moveRange(dst File, dstOff int64, src File, srcOff, n int64) error {
	if dst != src || dstOff+n <= srcOff || srcOff+n <= dstOff {
		done, err := kernelCopyPieces(dst, dstOff, src, srcOff, n)
		if err != nil {
			return err
		}
		dstOff, srcOff, n = dstOff+done, srcOff+done, n-done
	}
	buf := make([]byte, min(n, copyBufferSize))
	backwards := dst == src && dstOff > srcOff
	for n > 0 {
		chunk := buf[:min(n, int64(len(buf)))]
		at := int64(0)
		if backwards {
			at = n - int64(len(chunk))
		}
		if _, err := io.ReadFull(io.NewSectionReader(src, srcOff+at, int64(len(chunk))), chunk); err != nil {
			return err
		}
		if _, err := dst.WriteAt(chunk, dstOff+at); err != nil {
			return err
		}
		n -= int64(len(chunk))
		if !backwards {
			srcOff += int64(len(chunk))
			dstOff += int64(len(chunk))
		}
	}
	return nil
}
