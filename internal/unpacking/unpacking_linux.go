package unpacking

import (
	"archive/tar"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dockerarchive/dockerarchive/internal/files"
)

const (
	noFollow      = unix.O_NOFOLLOW
	directoryOnly = unix.O_DIRECTORY | unix.O_NOFOLLOW
)

// parent opens the directory of a place, and returns the name there.
func (u *unpacker) parent(place string) (*os.File, string, error) {
	dir, err := u.root.OpenFile(filepath.Dir(place), os.O_RDONLY|directoryOnly, 0)
	return dir, filepath.Base(place), err
}

// makeNode makes a device or a FIFO, if this process may.
func (u *unpacker) makeNode(place string, e *files.Entry) (made bool, err error) {
	dir, base, err := u.parent(place)
	if err != nil {
		return false, err
	}
	defer dir.Close() //nolint:errcheck // It was not written to.
	kind, device := uint32(unix.S_IFIFO), 0
	switch e.Type() {
	case tar.TypeChar:
		kind = unix.S_IFCHR
	case tar.TypeBlock:
		kind = unix.S_IFBLK
	}
	if kind != unix.S_IFIFO {
		major, minor := e.Device()
		device = int(unix.Mkdev(uint32(major), uint32(minor)))
	}
	err = unix.Mknodat(int(dir.Fd()), base, kind|0o600, device)
	if kind != unix.S_IFIFO && (err == unix.EPERM || err == unix.EACCES) {
		return false, nil
	}
	return err == nil, err
}

// afterLink sets owner, attributes and time of a file that cannot be opened: a link or
// a device.
func (u *unpacker) afterLink(place string, e *files.Entry) error {
	dir, base, err := u.parent(place)
	if err != nil {
		return fail("opening the directory of", e.Path, err)
	}
	defer dir.Close() //nolint:errcheck // It was not written to.
	fd := int(dir.Fd())
	switch uid, gid := e.Owner(); {
	case u.asRoot:
		if err := unix.Fchownat(fd, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			if err := u.tolerate(Owner, e.Path, "changing the owner of", err); err != nil {
				return err
			}
		}
	case uid != os.Geteuid() || gid != os.Getegid():
		u.notKept(Owner, e.Path)
	}
	// The kernel finds the name in the directory that is open. Neither is followed: a link
	// would be another file.
	self := fmt.Sprintf("/proc/self/fd/%d/%s", fd, base)
	if e.Type() != tar.TypeSymlink {
		if err := unix.Fchmodat(fd, base, uint32(e.Mode()), unix.AT_SYMLINK_NOFOLLOW); err != nil && err != unix.EOPNOTSUPP {
			return fail("changing the mode of", e.Path, err)
		} else if err != nil {
			if err := chmodPath(fd, base, uint32(e.Mode())); err != nil {
				return fail("changing the mode of", e.Path, err)
			}
		}
	}
	for name, value := range e.Xattrs() {
		if err := unix.Lsetxattr(self, name, []byte(value), 0); err != nil {
			if err := u.tolerate(Xattr, e.Path, "setting "+name+" of", err); err != nil {
				return err
			}
		}
	}
	if err := setTimes(fd, base, e.ModTime(), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		u.notKept(Timestamp, e.Path)
	}
	return nil
}

// chmodPath changes the mode of a file that is no link, on kernels before fchmodat2.
func chmodPath(dir int, base string, mode uint32) error {
	fd, err := unix.Openat(dir, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // It was not written to.
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode)
}

// setTimes fails for times after 2038 where the system call takes 32 bits.
func setTimes(dir int, path string, t time.Time, flags int) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, path, []unix.Timespec{ts, ts}, flags)
}

func setXattr(f *os.File, name, value string) error {
	return unix.Fsetxattr(int(f.Fd()), name, []byte(value), 0)
}

func (u *unpacker) setTime(f *os.File, _ string, t time.Time) error {
	return setTimes(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), t, 0)
}
