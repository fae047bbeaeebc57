//go:build unix

package output

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// errClosed means that this process was started without the stream it should write to.
var errClosed = errors.New("it is closed")

// CheckOpen fails if a file is a standard stream that was closed when this process was
// started. A null device opened for reading and writing counts as one.
func CheckOpen(f *os.File) error { return checkOpen(int(f.Fd())) }

// checkOpen fails if a standard stream was closed when this process was started. Go
// then opens the null device in its place, for reading and writing, so that an archive
// would go nowhere. A shell opens it for writing only: then it is meant. Only what
// writes an archive asks: Python and Node open it for both where nobody wants an answer.
func checkOpen(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_ACCMODE != unix.O_RDWR {
		return err
	}
	var stream, null unix.Stat_t
	if unix.Fstat(fd, &stream) == nil && unix.Stat(os.DevNull, &null) == nil &&
		stream.Mode&unix.S_IFMT == unix.S_IFCHR && stream.Rdev == null.Rdev {
		return errClosed
	}
	return nil
}
