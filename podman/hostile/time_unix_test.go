//go:build unix

package hostile_test

import (
	"syscall"
	"time"
)

// processorTime returns how much processor time the process has used. Other processes do
// not change it.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
