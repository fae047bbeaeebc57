package spool

import (
	"os"

	"golang.org/x/sys/unix"
)

func systemDir() string { return "/var/tmp" }

func createUnnamed(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return f, nil
	}
	return createUnlinked(dir) // No O_TMPFILE on this file system, or a real error that shows again.
}
