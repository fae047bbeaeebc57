//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package output

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// hasLocks says whether lock works.
const hasLocks = true

// lock locks a file until it is closed, or returns ErrBusy if somebody else has locked it. On a
// file system without locks, it does nothing.
func lock(f *os.File) error {
	if errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK) {
		return ErrBusy
	}
	return nil
}
