//go:build unix

package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openItself opens the file with a name, not the target of a link, and does not wait for
// the reader of a pipe.
const openItself = unix.O_NOFOLLOW | unix.O_NONBLOCK

// checkOwn fails if a file has another owner than the files that this process makes, or
// more than one name.
func checkOwn(info fs.FileInfo, name string) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		return fmt.Errorf("%w: %s has %d names", ErrForeign, name, st.Nlink)
	}
	owner := ownerOf(info)
	if owner == os.Geteuid() {
		return nil
	}
	// On media without owners, and some network file systems, all files are somebody else's.
	ours, err := newOwner(dirOf(name))
	if err != nil {
		return err
	}
	if owner != ours {
		return fmt.Errorf("%w: %s belongs to user %d", ErrForeign, name, owner)
	}
	return nil
}

// newOwner returns the owner of a file that this process makes in a directory.
func newOwner(dir string) (int, error) {
	f, err := os.CreateTemp(dir, ".docker-archive-owner.*")
	if err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err := errors.Join(err, os.Remove(f.Name()), f.Close()); err != nil {
		return 0, err
	}
	return ownerOf(info), nil
}

// ownerOf returns the owner of a file. It is a variable so that a test need not be root.
var ownerOf = func(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return os.Geteuid()
}
