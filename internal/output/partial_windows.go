package output

import "io/fs"

// openItself adds nothing here.
const openItself = 0

// checkOwn looks at nothing: no file is gone on with here, for want of locks.
func checkOwn(fs.FileInfo, string) error { return nil }
