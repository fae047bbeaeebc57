//go:build !(linux || darwin || freebsd)

package local

// Free would return how many bytes can still be written to a directory; it is
// not known here.
func Free(string) (int64, bool) { return 0, false }
