//go:build linux || darwin || freebsd

package local

import "golang.org/x/sys/unix"

// Written returns how many of n bytes from off on stand before the file's end and its
// first hole, as far as the system knows holes.
func (f *File) Written(off, n int64) int64 {
	hole, err := unix.Seek(int(f.file.Fd()), off, unix.SEEK_HOLE)
	if err != nil { // Off is behind the end, or it knows none.
		return f.before(off, n)
	}
	return min(hole-off, n)
}
