package tarfile

import "fmt"

// gap is a range of a file between entries that were adopted.
type gap struct{ off, end int64 }

// Adopt makes an entry of content that is complete in the file already, size bytes behind their header of one
// block at off, a multiple of 512, as a Finish of the blob would have done. Adopt entries in the order of the
// file, and before any slot is reserved. Blobs of known or expected size go to the gaps between, so that each
// gets back to its old place.
func (w *FileWriter) Adopt(name string, off, size int64) (*Entry, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	if off < w.tail || off%blockSize != 0 || size < 0 || size > maxSize || w.first != nil {
		return nil, fmt.Errorf("internal error: %d bytes at offset %d cannot be adopted", size, off)
	}
	if off > w.tail {
		w.gaps = append(w.gaps, gap{w.tail, off})
	}
	e := &Entry{name: name, size: size, span: spanOf(blockSize, size)}
	w.live[e] = struct{}{}
	w.occupyLocked(e, off)
	return e, nil
}

// fillGapLocked gives a slot of a size that is known, or guessed, a place in the first gap that has room for
// it, if there is one.
func (w *FileWriter) fillGapLocked(s *Slot) bool {
	span := spanOf(s.head, s.room())
	for i := range w.gaps {
		g := &w.gaps[i]
		g.off = max(g.off, w.sealed)
		if g.end-g.off < span {
			continue
		}
		s.off = g.off
		s.place = &extent{off: g.off, span: span, slot: s}
		g.off += span
		w.extents.insert(s.place)
		return true
	}
	return false
}
