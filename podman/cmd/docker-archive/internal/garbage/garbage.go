// Package garbage says when the garbage of a command is collected, unless the environment
// variables GOGC and GOMEMLIMIT do. Importing it is enough for all but Limit.
//
// The first collection waits until there are 12 MB, which most commands never have. A
// collection while a command starts, when nothing is garbage yet, takes a quarter of its time.
// Uncollected garbage is most of a long command's memory. Such a command makes little garbage,
// so collecting more often costs next to nothing: 49 MB instead of 59 for an image of a
// container of 1.2 GB.
//
// It is a package because the libraries that the command links allocate 4 MB before main runs:
// packages that do not need each other are initialized in the order of their paths, and those
// come later.
package garbage

import (
	"os"
	"runtime"
	"runtime/debug"
)

// first and later are in percent, first of at least 4 MB: so the runtime has it.
const first, later = 300, 50

// sentinel is garbage. Its finalizer runs after the first collection.
type sentinel struct{ _ *sentinel }

func init() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(first)
		runtime.SetFinalizer(&sentinel{}, func(*sentinel) { debug.SetGCPercent(later) })
	}
}

// Limit has garbage collected so often that memory stays below this many bytes, apart from
// the pages of the program.
func Limit(bytes int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(bytes)
	}
}
