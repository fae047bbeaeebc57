//go:build unix

package output

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inherited returns a copy of the file that this process was started with, if
// path names it. Opening the path instead would, for a regular file, begin at
// its start, and fail for a socket.
func inherited(path string) (*os.File, error) {
	clean := filepath.Clean(path)
	fd := -1
	switch {
	case path == "-", clean == "/dev/stdout":
		fd = 1
	case clean == "/dev/stderr":
		fd = 2
	default:
		for _, dir := range []string{"/dev/fd/", "/proc/self/fd/"} {
			if number, ok := strings.CutPrefix(clean, dir); ok {
				n, err := strconv.ParseUint(number, 10, 31)
				if err != nil {
					return nil, nil // Not a file descriptor; the path will not be found.
				}
				fd = int(n)
			}
		}
	}
	if fd < 0 {
		return nil, nil
	}
	if fd == 1 || fd == 2 {
		if err := checkOpen(fd); err != nil {
			return nil, err
		}
	}
	copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(copied), path), nil
}

// Delays between the attempts to find a reader of a FIFO: the first, and the
// longest.
const (
	firstTry = time.Millisecond
	lastTry  = 100 * time.Millisecond
)

// openFIFO opens a FIFO when it has a reader. Opening it in the usual way would
// wait for a reader without an end, and the reader would then take it for a
// writer.
func openFIFO(ctx context.Context, path string) (*os.File, error) {
	for wait := firstTry; ; wait = min(2*wait, lastTry) {
		f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if !errors.Is(err, unix.ENXIO) {
			return f, err // Close ends a Write that waits, as the file is not in blocking mode.
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// replaceable reports whether another file can be renamed over target, which a
// mount point does not allow.
func replaceable(target string) bool {
	var file, dir unix.Stat_t
	if unix.Stat(target, &file) != nil || unix.Stat(dirOf(target), &dir) != nil {
		return true
	}
	return file.Dev == dir.Dev && !isMountPoint(target)
}

func isReadOnly(err error) bool { return errors.Is(err, unix.EROFS) }

// dress gives a new file the mode and owner of the one that it replaces, or
// those of any new file.
func dress(f *os.File, old fs.FileInfo) error {
	if old == nil {
		return chmod(f, 0o644&^umask())
	}
	if st, ok := old.Sys().(*syscall.Stat_t); ok && (int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid()) {
		// Only root may give files away. For other users, the writer owns the
		// archive, as it owns every other file that it makes.
		_ = f.Chown(int(st.Uid), int(st.Gid))
	}
	return chmod(f, old.Mode().Perm())
}

// chmod leaves the mode to file systems that have none, as on some media, or
// whose files all belong to somebody else.
func chmod(f *os.File, mode fs.FileMode) error {
	err := f.Chmod(mode)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}
