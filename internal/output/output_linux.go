package output

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// createBeside writes to a file without a name in the directory of the target,
// of which nothing is left however the process ends, or to a temporary file
// where the file system or the lack of /proc does not allow that.
func createBeside(target string, old fs.FileInfo) (*Output, error) {
	dir := dirOf(target)
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		if _, dirErr := os.Stat(dir); dirErr != nil {
			return nil, dirErr
		}
		return createNamed(target, old) // Fails again if it is not for lack of O_TMPFILE.
	}
	self := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if _, err := os.Stat(self); err != nil {
		f.Close()
		return createNamed(target, old)
	}
	if old != nil {
		if err := dress(f, old); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return &Output{
		file: f,
		dir:  dir,
		finish: func() error {
			return errors.Join(link(self, target), f.Close())
		},
		undo: f.Close,
	}, nil
}

// link gives an unnamed file its name.
func link(self, target string) error {
	err := unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, target, unix.AT_SYMLINK_FOLLOW)
	if !errors.Is(err, unix.EEXIST) {
		return pathError("link", target, err)
	}
	if err := stillEmpty(target); err != nil {
		return err
	}
	// A file cannot be linked over another one: give it a name beside, and rename.
	for {
		name := fmt.Sprintf("%s/.%s.%d", dirOf(target), filepath.Base(target), rand.Uint64())
		err := unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return pathError("link", name, err)
		}
		if err := os.Rename(name, target); err != nil {
			return errors.Join(err, os.Remove(name))
		}
		return nil
	}
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

// moveInto renames a file to the target, which must be empty or not exist.
func moveInto(name, target string, replace bool) error {
	if !replace {
		err := unix.Renameat2(unix.AT_FDCWD, name, unix.AT_FDCWD, target, unix.RENAME_NOREPLACE)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
			return pathError("rename", target, err)
		}
	}
	if err := stillEmpty(target); err != nil {
		return err
	}
	return os.Rename(name, target)
}

// umask returns the process's umask without changing it, which would be seen by
// other threads.
func umask() fs.FileMode {
	status, err := os.ReadFile("/proc/self/status")
	if err == nil {
		for line := range strings.Lines(string(status)) {
			var mask uint32
			if n, _ := fmt.Sscanf(line, "Umask: %o", &mask); n == 1 {
				return fs.FileMode(mask)
			}
		}
	}
	return 0o022
}

// isMountPoint reports whether path is one, also of a file on the same device.
func isMountPoint(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return err == nil && st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}
