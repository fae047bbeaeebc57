package tarfile

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"github.com/dockerarchive/dockerarchive/internal/local"
)

// kernelFile is a file that the kernel knows: *os.File and *local.File.
type kernelFile interface {
	Fd() uintptr
	Name() string
}

// kernelCopy copies as much of a range as the kernel can without the bytes
// passing through this process (by sharing blocks where the file system does),
// and returns how much that was. The ranges must not overlap.
func kernelCopy(dst File, dstOff int64, src File, srcOff, n int64) (int64, error) {
	to, ok1 := dst.(kernelFile)
	from, ok2 := src.(kernelFile)
	if !ok1 || !ok2 {
		return 0, nil
	}
	var done int64
	for done < n {
		c, err := unix.CopyFileRange(int(from.Fd()), &srcOff, int(to.Fd()), &dstOff, int(min(n-done, 1<<30)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EFBIG), errors.Is(err, unix.EIO):
			return done, &local.Error{Op: "copy_file_range", Path: to.Name(), Err: err}
		case err != nil:
			return done, nil // Not between these files; the caller does it.
		case c == 0:
			return done, io.ErrUnexpectedEOF
		}
		done += int64(c)
	}
	return done, nil
}

// punch gives the space of an unused range back to the disk if the file system
// can do that.
func punch(f File, off, n int64) {
	if k, ok := f.(kernelFile); ok {
		_ = unix.Fallocate(int(k.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	}
}
