//go:build unix

package output

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncNames has the names in a directory on the disk when it returns, if the file system
// can do that and the directory may be read.
func syncNames(dir string) error {
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrPermission) {
		return nil // Writing to it is all that we may do; its owner has chosen that.
	}
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil // There is nothing of the kind on this file system.
	}
	return errors.Join(err, f.Close())
}
