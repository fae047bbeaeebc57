//go:build !linux

package unpacking

import (
	"errors"
	"os"
	"time"

	"github.com/dockerarchive/dockerarchive/internal/files"
)

const (
	noFollow      = 0
	directoryOnly = 0
)

// makeNode would make a device or a FIFO.
func (u *unpacker) makeNode(string, *files.Entry) (bool, error) { return false, nil }

// afterLink sets the owner of a link.
func (u *unpacker) afterLink(place string, e *files.Entry) error {
	uid, gid := e.Owner()
	if !u.asRoot || u.root.Lchown(place, uid, gid) != nil {
		u.notKept(Owner, e.Path)
	}
	return nil
}

func setXattr(*os.File, string, string) error { return errors.ErrUnsupported }

func (u *unpacker) setTime(_ *os.File, place string, t time.Time) error {
	return u.root.Chtimes(place, t, t)
}
