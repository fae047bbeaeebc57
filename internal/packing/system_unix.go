//go:build unix

package packing

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// openFlags are for opening a file that was a regular one a moment ago, and
// must not block if it is a FIFO now.
const openFlags = syscall.O_NONBLOCK

// identify returns the system's information on a file, and nothing for a file
// that is not the system's.
func identify(info fs.FileInfo) identity {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}
	}
	// The types differ between systems.
	device := uint64(s.Rdev) //nolint:gosec,unconvert // On Linux it already is a uint64.
	return identity{
		fileID: fileID{uint64(s.Dev), uint64(s.Ino)}, //nolint:gosec,unconvert // See above.
		links:  uint64(s.Nlink),                      //nolint:unconvert // See above.
		uid:    int(s.Uid), gid: int(s.Gid),
		major: int64(unix.Major(device)), minor: int64(unix.Minor(device)),
	}
}

// permissions returns the permissions for a layer.
func permissions(m fs.FileMode) fs.FileMode { return m.Perm() }
