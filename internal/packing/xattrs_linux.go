package packing

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// fileXattrs returns those extended attributes of an open file that belong in a
// layer.
func (d *disk) fileXattrs(f fs.File) (map[string]string, error) {
	file, ok := f.(*os.File)
	if !ok {
		return nil, nil
	}
	fd := int(file.Fd())
	return readXattrs(file.Name(),
		func(p []byte) (int, error) { return unix.Flistxattr(fd, p) },
		func(name string, p []byte) (int, error) { return unix.Fgetxattr(fd, name, p) })
}

// xattrs returns those extended attributes of a file that must not be opened
// that belong in a layer. It is reached through the open directory, so that no
// link is followed on the way.
func (d *disk) xattrs(name string) (map[string]string, error) {
	path := "/proc/self/fd/" + strconv.Itoa(int(d.file.Fd())) + "/" + name
	return readXattrs(d.full(name),
		func(p []byte) (int, error) { return unix.Llistxattr(path, p) },
		func(name string, p []byte) (int, error) { return unix.Lgetxattr(path, name, p) })
}

// readXattrs reads extended attributes by two system calls.
func readXattrs(path string, list func([]byte) (int, error), get func(string, []byte) (int, error)) (map[string]string, error) {
	var small [256]byte // Most files have none, or little.
	names, err := grow(small[:], list)
	if err != nil {
		if errors.Is(err, unix.ENOTSUP) {
			return nil, nil
		}
		return nil, &fs.PathError{Op: "list extended attributes of", Path: path, Err: err}
	}
	var found map[string]string
	for name := range bytes.SplitSeq(names, []byte{0}) {
		if !isKept(string(name)) {
			continue
		}
		value, err := grow(nil, func(p []byte) (int, error) { return get(string(name), p) })
		if err != nil {
			return nil, &fs.PathError{Op: fmt.Sprintf("read extended attribute %q of", name), Path: path, Err: err}
		}
		if found == nil {
			found = map[string]string{}
		}
		found[string(name)] = string(value)
	}
	return found, nil
}

// grow calls a function that fills a buffer, with a larger one until all fits.
func grow(p []byte, fill func([]byte) (int, error)) ([]byte, error) {
	for {
		n, err := fill(p)
		if err == nil && n <= len(p) {
			return p[:n], nil
		}
		if err != nil && !errors.Is(err, unix.ERANGE) {
			return nil, err
		}
		if n, err = fill(nil); err != nil {
			return nil, err
		}
		p = make([]byte, n+1) // Nobody asks for the size again if there is room left.
	}
}
