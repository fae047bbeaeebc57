//go:build !linux

package output

import (
	"errors"
	"io/fs"
	"os"
)

// createBeside writes to a temporary file beside the target.
func createBeside(target string, old fs.FileInfo) (*Output, error) {
	return createNamed(target, old)
}

// openUnnamed fails: there are no such files.
func openUnnamed(string) (*os.File, func(string) error, error) {
	return nil, nil, errors.ErrUnsupported
}

// move is moveInto except for the cleaning up.
func move(name, target string, old fs.FileInfo) error {
	if old != nil {
		return moveOver(name, target, old)
	}
	return moveByLink(name, target)
}

// umask returns the usual one: it cannot be read without changing it, which
// would be seen by other threads.
func umask() fs.FileMode { return 0o022 }

func isMountPoint(string) bool { return false }
