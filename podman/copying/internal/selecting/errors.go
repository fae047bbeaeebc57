package selecting

import (
	"errors"
	"syscall"

	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// endsReading reports whether the error of one image tells that the others had better
// not be tried: it is that of a machine that does not answer, which has been waited
// for, or that of this one.
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
