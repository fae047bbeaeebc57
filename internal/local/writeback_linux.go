package local

import (
	"os"

	"golang.org/x/sys/unix"
)

// startWriteBack has the system begin to write a file's data to the disk. It is a
// variable for tests. That the file may be closed meanwhile, or a system does not
// know how, is nobody's loss.
var startWriteBack = func(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SyncFileRange(int(fd), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	})
}
