//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package local

import (
	"errors"
	"os"
)

// HasLocks says whether TryLock works on this system.
const HasLocks = false

// TryLock fails: there are no locks here.
func TryLock(*os.File) (bool, error) { return false, errors.ErrUnsupported }
