package tarfile

import (
	"archive/tar"
	"fmt"
	"io"
	"slices"
)

// WriteWithTail writes the archive with documents of these names as its last entries, so
// that it has a Tail, and returns how many bytes it takes. All else keeps its order.
func (x *Index) WriteWithTail(w io.WriterAt, documents []string) (int64, error) {
	type span struct{ from, to int64 }
	var others, last []span
	for i, e := range x.entries {
		s := span{e.start, x.end}
		if i+1 < len(x.entries) {
			s.to = x.entries[i+1].start
		}
		switch {
		case !slices.Contains(documents, e.name):
			others = append(others, s)
		case x.byName[e.name] != int32(i): // A later one replaces it.
		case e.kind != tar.TypeReg || x.linked(e):
			return 0, fmt.Errorf("%s is not a file by itself: %w", readable(e.name), ErrNoTail)
		default:
			last = append(last, s)
		}
	}
	var end int64
	for _, s := range append(others, last...) {
		n, err := io.Copy(io.NewOffsetWriter(w, end), io.NewSectionReader(x.r, s.from, s.to-s.from))
		if err == nil && n < s.to-s.from {
			err = damaged("cut short at offset %d", s.from+n)
		}
		if err != nil {
			return 0, err
		}
		end += n
	}
	_, err := w.WriteAt(make([]byte, 2*blockSize), end)
	return end + 2*blockSize, err
}
