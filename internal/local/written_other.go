//go:build !(linux || darwin || freebsd)

package local

// Written returns how many of n bytes from off on stand before the file's end and its
// first hole, as far as the system knows holes.
func (f *File) Written(off, n int64) int64 { return f.before(off, n) }
