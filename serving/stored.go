package serving

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// stored is a blob as it is in the files of an archive, which the kernel can send.
type stored struct {
	// place returns the file that has the byte at an offset of the archive, its offset
	// there, and how many bytes of the archive follow in it.
	place             func(offset int64) (f *os.File, at, left int64)
	offset, size, pos int64

	file *os.File // of the archive, that own is
	own  *os.File // opened once more to have an offset of its own; nil if that could not be
}

// newStored returns the blob at a section of an archive, nil if that is not in files.
func newStored(section *io.SectionReader) *stored {
	outer, offset, size := section.Outer()
	s := &stored{offset: offset, size: size}
	switch outer := outer.(type) {
	case *os.File:
		s.place = func(offset int64) (*os.File, int64, int64) { return outer, offset, math.MaxInt64 }
	case interface {
		FileAt(offset int64) (*os.File, int64, int64)
	}:
		s.place = outer.FileAt
	default:
		return nil
	}
	return s
}

// Seek implements io.Seeker.
func (s *stored) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.pos
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, errors.New("negative offset")
	}
	s.pos = offset
	return offset, nil
}

// Read implements io.Reader.
func (s *stored) Read(p []byte) (int, error) {
	f, at, n := s.here(int64(len(p)))
	if n == 0 {
		return 0, io.EOF
	}
	read, err := f.ReadAt(p[:n], at)
	s.pos += int64(read)
	return read, err
}

// sendTo sends at most n bytes, fewer only if it fails or where a file ends.
func (s *stored) sendTo(w io.Writer, n int64) (int64, error) {
	f, at, n := s.here(n)
	if f != s.file {
		s.close()
		s.file, s.own = f, reopen(f)
	}
	var from io.Reader = s.own
	if s.own == nil {
		from = io.NewSectionReader(f, at, n)
	} else if _, err := s.own.Seek(at, io.SeekStart); err != nil {
		return 0, err
	}
	sent, err := io.Copy(w, &io.LimitedReader{R: from, N: n}) // As package net wants it.
	s.pos += sent
	return sent, err
}

// here returns where the next bytes are, and how many of at most n.
func (s *stored) here(n int64) (f *os.File, at, left int64) {
	n = min(n, s.size-s.pos)
	if n <= 0 {
		return nil, 0, 0
	}
	f, at, left = s.place(s.offset + s.pos)
	return f, at, min(n, left)
}

// check returns an error if the blob is not all there any more.
func (s *stored) check() error {
	for done := int64(0); done < s.size; {
		f, at, left := s.place(s.offset + done)
		left = min(left, s.size-done)
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if info.Size() < at+left {
			return errdef.Errorf(errdef.ErrDamaged, "the archive has been cut short to %d bytes while it was served", info.Size())
		}
		done += left
	}
	return nil
}

func (s *stored) close() {
	if s.own != nil {
		_ = s.own.Close() // It has only been read.
	}
	s.file, s.own = nil, nil
}

// reopen opens a file once more, so that it has an offset of its own. On Linux that
// works even if another file is at its path now; elsewhere it opens the path. It
// returns nil if it cannot.
func reopen(file *os.File) *os.File {
	was, err := file.Stat()
	if err != nil {
		return nil
	}
	for _, path := range []string{fmt.Sprintf("/proc/self/fd/%d", file.Fd()), file.Name()} {
		own, err := os.Open(path)
		if err != nil {
			continue
		}
		if is, err := own.Stat(); err == nil && os.SameFile(was, is) {
			return own
		}
		_ = own.Close() // It was only opened.
	}
	return nil
}
