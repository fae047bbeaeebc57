//go:build !linux

package output

import (
	"io/fs"
	"os"
)

// createBeside writes to a temporary file beside the target.
func createBeside(target string, old fs.FileInfo) (*Output, error) {
	return createNamed(target, old)
}

// moveInto renames a file to the target, which must be empty or not exist.
func moveInto(name, target string, _ bool) error {
	if err := stillEmpty(target); err != nil {
		return err
	}
	return os.Rename(name, target)
}

// umask returns the usual one: it cannot be read without changing it, which
// would be seen by other threads.
func umask() fs.FileMode { return 0o022 }

func isMountPoint(string) bool { return false }
