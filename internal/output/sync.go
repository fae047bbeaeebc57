package output

import "github.com/dockerarchive/dockerarchive/internal/local"

// syncFile and syncDir return when what is in a file, or which names are in a
// directory, is on the disk. They are variables so that a test can see when.
var (
	syncFile = func(f *local.File) error { return f.Sync() }
	syncDir  = syncNames
)
