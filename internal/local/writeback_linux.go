package local

import (
	"os"

	"golang.org/x/sys/unix"
)

// startWriteBack has the system begin to write a file's data to the disk. It is a
// variable for tests. It does no harm if the file is closed meanwhile, or the
// system cannot do it.
var startWriteBack = func(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SyncFileRange(int(fd), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	})
}
