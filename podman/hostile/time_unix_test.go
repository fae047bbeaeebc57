//go:build unix

package hostile_test

import (
	"syscall"
	"time"
)

// processorTime returns how much time of processors the process has used, which is the same
// however many others there are.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
