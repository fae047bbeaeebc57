package output

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// createBeside writes to a file without a name in the directory of the target, which
// disappears however the process ends. It writes to a temporary file if the system does not
// allow that, or could not give it a name in the end.
func createBeside(target string, old fs.FileInfo) (*Output, error) {
	dir := dirOf(target)
	f, self, err := unnamed(dir)
	if err != nil {
		if _, dirErr := os.Stat(dir); dirErr != nil {
			return nil, dirErr
		}
		return createNamed(target, old) // Fails again if it is not for lack of O_TMPFILE.
	}
	if old != nil {
		if err := dress(f, old); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return &Output{
		raw: f,
		dir: dir,
		finish: func(context.Context) error {
			return errors.Join(link(self, target, old), f.Close())
		},
		undo: f.Close,
	}, nil
}

// unnamed makes a file without a name, which self is the way to.
func unnamed(dir string) (f *os.File, self string, err error) {
	f, err = os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, "", err
	}
	self = fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if err := tryLink(dir); err != nil {
		return nil, "", errors.Join(err, f.Close())
	}
	return f, self, nil
}

// linkTrial is the name that tryLink gives a file, for an instant.
const linkTrial = ".docker-archive-link"

// tryLink fails if an unnamed file cannot be given a name in a directory. A security
// module, a sandbox or a missing /proc may prevent it, which has to be found out before an
// archive is complete. A file that has had a name cannot be given another, so tryLink makes
// a file of its own.
func tryLink(dir string) error {
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	name := dir + string(filepath.Separator) + linkTrial
	err = linkAt(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), name)
	if errors.Is(err, fs.ErrExist) { // Another process is at it, or was killed: it could do so.
		if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() || info.Size() > 0 {
			return f.Close()
		}
		err = nil
	}
	if err == nil {
		_ = os.Remove(name)
	}
	return errors.Join(err, f.Close())
}

// openUnnamed makes a file without a name in a directory. give gives it a free name.
func openUnnamed(dir string) (f *os.File, give func(name string) error, err error) {
	f, self, err := unnamed(dir)
	if err != nil {
		return nil, nil, err
	}
	return f, func(name string) error { return linkSelf(self, name) }, nil
}

// link gives an unnamed file its name.
func link(self, target string, old fs.FileInfo) error {
	err := linkSelf(self, target)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if old == nil {
		return appeared(target)
	}
	// A file cannot be linked over another one: give it a name beside, and move it.
	for {
		name := fmt.Sprintf("%s/.%s.%d", dirOf(target), filepath.Base(target), rand.Uint64())
		err := linkSelf(self, name)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		return moveInto(name, target, old)
	}
}

func linkSelf(self, name string) error { return pathError("link", name, linkAt(self, name)) }

// linkAt gives the file that a link of /proc leads to a name. It is a variable so that a
// test can stand for a system that cannot.
var linkAt = func(self, name string) error {
	return unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

// move is moveInto except for the cleaning up.
func move(name, target string, old fs.FileInfo) error {
	if old != nil {
		err := exchange(name, target, old)
		switch {
		case isUnsupported(err):
			return moveOver(name, target, old)
		case !errors.Is(err, fs.ErrNotExist): // The empty file may have been removed.
			return err
		}
	}
	err := unix.Renameat2(unix.AT_FDCWD, name, unix.AT_FDCWD, target, unix.RENAME_NOREPLACE)
	switch {
	case errors.Is(err, unix.EEXIST):
		return appeared(target)
	case isUnsupported(err):
		return moveByLink(name, target)
	}
	return pathError("rename", target, err)
}

// exchange replaces the target by the file at name, and makes sure afterwards that it has
// replaced the empty file that old describes.
func exchange(name, target string, old fs.FileInfo) error {
	if err := unchanged(target, old); err != nil {
		return err
	}
	if err := swap(name, target); err != nil {
		return err
	}
	if err := unchanged(name, old); err != nil {
		// Somebody else was faster, if only just: put theirs back, over ours.
		return errors.Join(err, os.Rename(name, target))
	}
	_ = os.Remove(name) // It is empty, and the archive is where it should be.
	return nil
}

// swap exchanges the names of two files in one step. It is a variable so that a
// test can do something just before.
var swap = func(name, target string) error {
	return pathError("exchange", target, unix.Renameat2(unix.AT_FDCWD, name, unix.AT_FDCWD, target, unix.RENAME_EXCHANGE))
}

// isUnsupported reports whether an error means that this kernel or file system does not
// support such renaming.
func isUnsupported(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)
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
