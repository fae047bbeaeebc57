package tarfile

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"

	"github.com/dockerarchive/dockerarchive/errdef"
)

const (
	// In an archive of large layers few headers are close to each other, in one of small
	// files all are: a window starts small, and doubles for as long as reading goes on
	// where it ended.
	minWindow = 4 << 10
	maxWindow = 128 << 10
)

// window reads the headers of an archive. It is an io.Seeker, so archive/tar
// skips contents without reading them.
type window struct {
	r         io.ReaderAt
	size, pos int64
	budget    int64 // how much may still be read of this header
	buf       []byte
	start     int64 // of buf in r
}

// next reads the header at the position of w. spare is for one of the usual form; every
// other one is read by archive/tar, which keeps nothing from one header to the next.
func (w *window) next(spare *tar.Header) (*tar.Header, error) {
	if block := w.block(); block != nil && plain(block, spare) {
		w.pos += blockSize
		return spare, nil
	}
	return tar.NewReader(w).Next()
}

// block returns the block at the position of w without going on, nil if it is not there
// as a whole or cannot be read: Read returns the reason.
func (w *window) block() []byte {
	if w.pos > w.size-blockSize {
		return nil
	}
	if w.pos < w.start || w.pos+blockSize > w.start+int64(len(w.buf)) {
		if w.fill() != nil {
			return nil
		}
	}
	return w.buf[w.pos-w.start:][:blockSize]
}

// Read implements io.Reader.
func (w *window) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if w.pos >= w.size {
		return 0, io.EOF
	}
	if w.pos < w.start || w.pos >= w.start+int64(len(w.buf)) {
		if err := w.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.buf[w.pos-w.start:])
	w.pos += int64(n)
	if w.budget -= int64(n); w.budget < 0 {
		return 0, fmt.Errorf("%w: header of more than %d bytes", errdef.ErrLimit, maxHeaderLen)
	}
	return n, nil
}

func (w *window) fill() error {
	length := minWindow
	if len(w.buf) > 0 && w.pos == w.start+int64(len(w.buf)) {
		length = min(2*len(w.buf), maxWindow)
	}
	if cap(w.buf) < length {
		w.buf = make([]byte, length)
	}
	w.buf = w.buf[:min(int64(length), w.size-w.pos)]
	w.start = w.pos
	if n, err := w.r.ReadAt(w.buf, w.pos); n < len(w.buf) {
		w.buf = w.buf[:0]
		return eof(err)
	}
	return nil
}

// Seek implements io.Seeker.
func (w *window) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += w.pos
	case io.SeekEnd:
		offset += w.size
	}
	if offset < 0 { // A sum that overflows is negative, too.
		return 0, errors.New("seeking before the start")
	}
	w.pos = offset
	return offset, nil
}
