//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// HasLocks says whether TryLock works on this system.
const HasLocks = true

// TryLock locks a file until it is closed. It returns false and no error if another open file
// has the lock, and an error if locks do not work, as on some file systems.
func TryLock(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
