package tarfile

import (
	"cmp"
	"context"
	"io"
	"slices"
)

// planLocked returns where the archive ends once entries, in their order, stand
// at the sealed end of the file with extra bytes after them, and where entries
// have to be moved for that: those that stand wrong, and others in their way.
func (w *Writer) planLocked(entries []*Entry, extra int64) (end int64, moves map[*Entry]int64) {
	moves = map[*Entry]int64{}
	end = w.sealed
	for _, e := range entries {
		if e.off != end || e.spool != nil {
			moves[e] = end
		}
		end += e.span
	}
	end += extra
	free := w.freeLocked(end)
	for _, e := range w.othersLocked(entries) {
		if e.off < end {
			moves[e] = free
			free += e.span
		}
	}
	return end, moves
}

// arrangeLocked makes the moves, each entry once, unless entries stand in each
// other's places.
func (w *Writer) arrangeLocked(ctx context.Context, moves map[*Entry]int64, end int64) error {
	free := w.freeLocked(end)
	for e, to := range moves {
		free = max(free, to+e.span)
	}
	for len(moves) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, to := nextMove(moves)
		if e == nil { // Each stands in the way of another: put one aside.
			e, to = firstInFile(moves), free
			free += e.span
		}
		if err := w.moveLocked(e, to); err != nil {
			return err
		}
		if moves[e] == to {
			delete(moves, e)
		}
	}
	return nil
}

// othersLocked returns the live entries in the file that are not in entries, by offset.
func (w *Writer) othersLocked(entries []*Entry) []*Entry {
	var others []*Entry
	for e := range w.live {
		if e.spool == nil && !slices.Contains(entries, e) {
			others = append(others, e)
		}
	}
	slices.SortFunc(others, byOffset)
	return others
}

func byOffset(a, b *Entry) int { return cmp.Compare(a.off, b.off) }

// nextMove returns an entry, and where it goes, such that no other entry that
// has to be moved stands there; nil if there is none. An entry may overlap its
// own old place.
func nextMove(moves map[*Entry]int64) (*Entry, int64) {
	var best *Entry
	for e, to := range moves {
		if best != nil && to >= moves[best] {
			continue // The lowest first, so that the order of moves is always the same.
		}
		blocked := false
		for other := range moves {
			if other != e && other.spool == nil && other.off < to+e.span && to < other.off+other.span {
				blocked = true
				break
			}
		}
		if !blocked {
			best = e
		}
	}
	return best, moves[best]
}

func firstInFile(moves map[*Entry]int64) *Entry {
	var first *Entry
	for e := range moves {
		if e.spool == nil && (first == nil || e.off < first.off) {
			first = e
		}
	}
	return first
}

func (w *Writer) moveLocked(e *Entry, to int64) error {
	var from File = w.file
	off := e.off
	if e.spool != nil {
		from, off = e.spool, 0
	}
	if err := moveRange(w.file, to, from, off, e.span); err != nil {
		return err
	}
	e.off = to
	if e.spool == nil {
		return nil
	}
	err := e.spool.Close()
	e.spool = nil
	return err
}

// moveRange copies n bytes between files, or within one, where the ranges may
// overlap. The kernel does it where it can.
func moveRange(dst File, dstOff int64, src File, srcOff, n int64) error {
	if dst != src || dstOff+n <= srcOff || srcOff+n <= dstOff {
		done, err := kernelCopy(dst, dstOff, src, srcOff, n)
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

const copyBufferSize = 1 << 20

// copyToStream writes the first n bytes of a spool file.
func copyToStream(w io.Writer, spool io.ReaderAt, n int64) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, io.NewSectionReader(spool, 0, n), make([]byte, min(n, copyBufferSize)))
	return err
}
