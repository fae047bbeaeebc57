package output

import (
	"io/fs"
	"os"
)

// inherited returns nothing: paths do not name open files here, except for the
// customary name of standard output.
func inherited(path string) (*os.File, error) {
	if path == "-" || path == "/dev/stdout" {
		return os.Stdout, nil
	}
	return nil, nil
}

func replaceable(string) bool { return true }

func isReadOnly(error) bool { return false }

func dress(*os.File, fs.FileInfo) error { return nil }
