package packing

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// fileID is the same for all names of one file.
type fileID struct{ device, inode uint64 }

// identity is the information of a machine's file system on a file beyond an
// fs.FileInfo.
type identity struct {
	fileID
	links        uint64
	uid, gid     int
	major, minor int64 // of a device
}

var errSocket = errors.New("a socket cannot be in a layer")

// newHeader returns the header of a file under a path, except for its extended
// attributes and the target of a link.
func newHeader(path string, info fs.FileInfo, id identity) (*tar.Header, error) {
	h := &tar.Header{Name: path, Uid: id.uid, Gid: id.gid, ModTime: info.ModTime().Truncate(time.Second), Mode: mode(info.Mode())}
	switch info.Mode().Type() {
	case 0:
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
	case fs.ModeDir:
		h.Typeflag = tar.TypeDir
	case fs.ModeSymlink:
		h.Typeflag, h.Mode = tar.TypeSymlink, 0o777 // As Linux has them; other systems differ.
	case fs.ModeDevice | fs.ModeCharDevice:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, id.major, id.minor
	case fs.ModeDevice:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeBlock, id.major, id.minor
	case fs.ModeNamedPipe:
		h.Typeflag = tar.TypeFifo
	case fs.ModeSocket:
		return nil, errSocket
	default:
		return nil, fmt.Errorf("files of the type %v cannot be in a layer", info.Mode().Type())
	}
	return h, nil
}

// mode returns a mode as a tar has it.
func mode(m fs.FileMode) int64 {
	bits := int64(permissions(m))
	for bit, value := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&bit != 0 {
			bits |= value
		}
	}
	return bits
}

// setXattrs adds extended attributes to a header.
func setXattrs(h *tar.Header, xattrs map[string]string) error {
	for name, value := range xattrs {
		if strings.Contains(name, "=") {
			return fmt.Errorf("the extended attribute %q cannot be in a layer", name)
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[layertar.XattrPrefix+name] = value
	}
	return nil
}

// isKept reports whether an extended attribute belongs in a layer. All others
// are about this machine, or visible to root alone.
func isKept(xattr string) bool {
	return xattr == "security.capability" || strings.HasPrefix(xattr, "user.") && !strings.HasPrefix(xattr, "user.overlay.")
}

// isSame reports whether a file has stayed as it was.
func isSame(before, after fs.FileInfo) bool {
	return before.Size() == after.Size() && before.ModTime().Equal(after.ModTime()) &&
		before.Mode() == after.Mode() && identify(before).fileID == identify(after).fileID
}
