//go:build linux || darwin || freebsd

package local

import "golang.org/x/sys/unix"

// Free returns how many bytes this process can still write to the file system of
// a directory, if that can be told.
func Free(dir string) (int64, bool) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true
}
