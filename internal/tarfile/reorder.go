package tarfile

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"slices"
)

// WriteWithTail writes the archive with documents of these names as its last entries, so
// that it has a Tail, and returns how many bytes it takes. All else keeps its order. The
// kernel copies where it can, and has both files share what the file system can share.
func (x *Index) WriteWithTail(w File, documents []string) (int64, error) {
	var others, last []span
	for i, e := range x.entries {
		s := span{e.start, x.end}
		if i+1 < len(x.entries) {
			s.to = x.entries[i+1].start
		}
		switch {
		case !slices.Contains(documents, e.name):
			if n := len(others); n > 0 && others[n-1].to == s.from { // The longer, the more can be shared.
				others[n-1].to = s.to
				continue
			}
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
		n := s.to - s.from
		err := x.copyTo(w, end, s.from, n)
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			err = damaged("cut short before offset %d", s.to)
		}
		if err != nil {
			return 0, err
		}
		end += n
	}
	_, err := w.WriteAt(make([]byte, 2*blockSize), end)
	return end + 2*blockSize, err
}

// span is a range of an archive.
type span struct{ from, to int64 }

// copyTo copies n bytes from an offset of the archive to one of a file.
func (x *Index) copyTo(w File, to, from, n int64) error {
	if r, ok := x.r.(File); ok {
		return moveRange(w, to, r, from, n)
	}
	copied, err := io.Copy(io.NewOffsetWriter(w, to), io.NewSectionReader(x.r, from, n))
	if err == nil && copied < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}
