package output

import "github.com/dockerarchive/dockerarchive/internal/local"

// syncFile and syncDir return when the content of a file, or the names in a
// directory, are on the disk. They are variables so that a test can see when.
var (
	syncFile = func(f *local.File) error { return f.Sync() }
	syncDir  = syncNames
)
