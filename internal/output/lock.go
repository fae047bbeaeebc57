package output

import (
	"os"

	"github.com/dockerarchive/dockerarchive/internal/local"
)

// hasLocks says whether lock works.
const hasLocks = local.HasLocks

// lock locks a file until it is closed, or returns ErrBusy if another process has locked it.
// If locks do not work, it does nothing.
func lock(f *os.File) error {
	if locked, err := local.TryLock(f); err == nil && !locked {
		return ErrBusy
	}
	return nil
}
