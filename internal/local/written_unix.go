//go:build linux || darwin || freebsd

package local

import (
	"errors"
	"math"

	"golang.org/x/sys/unix"
)

// Written returns how many of n bytes from off on stand before the file's end and its
// first hole, as far as the system knows holes.
func (f *File) Written(off, n int64) int64 {
	hole, err := unix.Seek(int(f.file.Fd()), off, unix.SEEK_HOLE)
	if err != nil { // Off is behind the end, or it knows none.
		return f.before(off, n)
	}
	return min(hole-off, n)
}

// NextData returns where data, not a hole, begins from off on, as far as the system
// knows holes.
func (f *File) NextData(off int64) int64 {
	data, err := unix.Seek(int(f.file.Fd()), off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return math.MaxInt64
	case err != nil:
		return off
	}
	return data
}

// Allocated returns how many bytes of the disk the file takes, or its size if that is
// not known.
func (f *File) Allocated() (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.file.Fd()), &st); err != nil {
		return 0, f.wrap("stat", err)
	}
	return st.Blocks * 512, nil
}
