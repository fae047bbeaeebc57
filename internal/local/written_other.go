//go:build !(linux || darwin || freebsd)

package local

// Written returns how many of n bytes from off on stand before the file's end and its
// first hole, as far as the system knows holes.
func (f *File) Written(off, n int64) int64 { return f.before(off, n) }

// NextData returns where data, not a hole, begins from off on, as far as the system
// knows holes.
func (f *File) NextData(off int64) int64 { return off }

// Allocated returns how many bytes of the disk the file takes, or its size if that is
// not known.
func (f *File) Allocated() (int64, error) { return f.Size() }
