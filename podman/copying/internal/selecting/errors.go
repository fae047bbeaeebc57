package selecting

import (
	"errors"
	"syscall"

	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// endsReading reports whether after the error of one image the others should not be
// tried: a machine did not answer for long, or the error is this machine's.
func endsReading(err error) bool {
	return IsLocal(err) || sources.Retries(0, 0).Judge(err).Retry
}

// IsLocal reports whether an error is that of this machine, such as a full disk.
func IsLocal(err error) bool {
	var local *local.Error
	return errors.As(err, &local) || errors.Is(err, syscall.ENOSPC)
}

// ErrLeftOut is the error of an operation that is complete but for images that failed.
var ErrLeftOut = errors.New("not all images could be saved")
