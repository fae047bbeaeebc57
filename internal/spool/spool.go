// Package spool makes the temporary files that hold data too large for memory.
// They have no name, so nothing is left of them when the process ends, however
// it ends. The package knows nothing of their content.
package spool

import (
	"cmp"
	"os"

	"github.com/dockerarchive/dockerarchive/internal/local"
)

// Dir returns the directory for large temporary files: preferred if it is not
// empty, else $TMPDIR, else the one that the system keeps for files larger than
// memory.
func Dir(preferred string) string {
	return cmp.Or(preferred, os.Getenv("TMPDIR"), systemDir())
}

// Create opens a new, empty, unnamed file for reading and writing in dir. Its
// space is freed when it is closed. All errors are of type *local.Error.
func Create(dir string) (*local.File, error) {
	f, err := createUnnamed(dir)
	if err != nil {
		return nil, &local.Error{Op: "creating a temporary file in", Path: dir, Err: err}
	}
	return local.NewFile(f, "temporary file in "+dir), nil
}
