//go:build unix

package serving

import (
	"math"
	"syscall"
)

// maxFiles returns how many files this process may have open.
func maxFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32
	}
	if n := uint64(limit.Cur); n < math.MaxInt32 { //nolint:unconvert // It is signed on FreeBSD.
		return int(n)
	}
	return math.MaxInt32
}
