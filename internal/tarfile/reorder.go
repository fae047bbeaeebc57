package tarfile

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// WriteWithTail writes the archive with documents of these names as its last entries,
// so that it has a Tail, and returns how many bytes it takes. Their old places become
// entries that nobody looks at, as of Supersede. So all else keeps its offset, and both
// files share blocks if the file system can do that. It ends with ctx.
func (x *Index) WriteWithTail(ctx context.Context, w File, documents []string) (int64, error) {
	var gone, last []span
	for i, e := range x.entries {
		if !slices.Contains(documents, e.name) {
			continue
		}
		s := span{e.start, x.end}
		if i+1 < len(x.entries) {
			s.to = x.entries[i+1].start
		}
		if n := len(gone); n > 0 && gone[n-1].to == s.from {
			gone[n-1].to = s.to
		} else {
			gone = append(gone, s)
		}
		switch {
		case x.byName[e.name] != int32(i): // A later one replaces it.
		case e.kind != tar.TypeReg || x.linked(e):
			return 0, fmt.Errorf("%s is not a file by itself: %w", readable(e.name), ErrNoTail)
		default:
			last = append(last, s)
		}
	}
	number, err := x.Superseded()
	if err != nil {
		return 0, err
	}
	var end int64
	for _, s := range append([]span{{0, x.end}}, last...) {
		n := s.to - s.from
		err := x.copyTo(ctx, w, end, s.from, n)
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			err = damaged("cut short before offset %d", s.to)
		}
		if err != nil {
			return 0, err
		}
		end += n
	}
	for i, s := range gone {
		block, err := Tail{Start: s.from}.Supersede(number+i, s.to)
		if err != nil {
			return 0, err
		}
		if _, err := w.WriteAt(block, s.from); err != nil {
			return 0, err
		}
	}
	_, err = w.WriteAt(make([]byte, 2*blockSize), end)
	return end + 2*blockSize, err
}

// span is a range of an archive.
type span struct{ from, to int64 }

// copyPiece is how many bytes are copied between two looks at the context.
const copyPiece = 64 << 20

// copyTo copies n bytes from an offset of the archive to one of a file, until ctx ends.
func (x *Index) copyTo(ctx context.Context, w File, to, from, n int64) error {
	for n > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		piece := min(n, copyPiece)
		if err := x.copyPieceTo(w, to, from, piece); err != nil {
			return err
		}
		to, from, n = to+piece, from+piece, n-piece
	}
	return nil
}

func (x *Index) copyPieceTo(w File, to, from, n int64) error {
	if r, ok := x.r.(File); ok {
		return moveRange(w, to, r, from, n)
	}
	copied, err := io.Copy(io.NewOffsetWriter(w, to), io.NewSectionReader(x.r, from, n))
	if err == nil && copied < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}
