package packing

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// directory is an open directory. Names are names of files in it, and none of
// its methods follows a symbolic link.
type directory interface {
	list() ([]string, error) // sorted
	stat(name string) (fs.FileInfo, error)
	readLink(name string) (string, error)
	open(name string) (fs.File, error)                      // a regular file
	enter(name string, seen fs.FileInfo) (directory, error) // which must be the one that was seen
	xattrs(name string) (map[string]string, error)          // of files that cannot be opened
	self() (fs.FileInfo, map[string]string, error)
	fileXattrs(f fs.File) (map[string]string, error)
	full(name string) string // for errors
	close()
}

// disk is a directory of the machine's.
type disk struct {
	path string
	root *os.Root // of this, only direct children are asked for
	file *os.File // the same directory
}

// openDisk opens a directory.
func openDisk(path string) (*disk, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return newDisk(path, root)
}

func newDisk(path string, root *os.Root) (*disk, error) {
	file, err := root.Open(".")
	if err != nil {
		_ = root.Close()
		return nil, named(err, path)
	}
	return &disk{path, root, file}, nil
}

func (d *disk) list() ([]string, error) {
	names, err := d.file.Readdirnames(-1)
	slices.Sort(names)
	return names, named(err, d.path)
}

func (d *disk) stat(name string) (fs.FileInfo, error) {
	info, err := d.root.Lstat(name)
	return info, named(err, d.full(name))
}

func (d *disk) readLink(name string) (string, error) {
	target, err := d.root.Readlink(name)
	return target, named(err, d.full(name))
}

func (d *disk) open(name string) (fs.File, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|openFlags, 0)
	if err != nil { // Not a nil *os.File in an interface.
		return nil, named(err, d.full(name))
	}
	return f, nil
}

func (d *disk) enter(name string, seen fs.FileInfo) (directory, error) {
	root, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, named(err, d.full(name))
	}
	sub, err := newDisk(d.full(name), root)
	if err != nil {
		return nil, err
	}
	info, err := sub.file.Stat()
	if err == nil && !os.SameFile(info, seen) {
		err = fmt.Errorf("read %s: %w", sub.path, ErrChanged)
	}
	if err != nil {
		sub.close()
		return nil, err
	}
	return sub, nil
}

func (d *disk) self() (fs.FileInfo, map[string]string, error) {
	info, err := d.file.Stat()
	if err != nil {
		return nil, nil, named(err, d.path)
	}
	xattrs, err := d.fileXattrs(d.file)
	return info, xattrs, named(err, d.path)
}

func (d *disk) full(name string) string { return filepath.Join(d.path, name) }

func (d *disk) close() {
	_ = d.file.Close() // They were only read.
	_ = d.root.Close()
}

// named gives an error of a file, which knows its name only, the whole path.
func named(err error, path string) error {
	if e, ok := err.(*fs.PathError); ok { //nolint:errorlint // One that is wrapped has been named before.
		return &fs.PathError{Op: e.Op, Path: path, Err: e.Err}
	}
	return err
}

// virtual is a directory of a file system that need not be the machine's.
type virtual struct {
	files fs.FS
	path  string
}

func (v *virtual) list() ([]string, error) {
	entries, err := fs.ReadDir(v.files, v.path)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	slices.Sort(names)
	return names, err
}

func (v *virtual) stat(name string) (fs.FileInfo, error)    { return fs.Lstat(v.files, v.full(name)) }
func (v *virtual) readLink(name string) (string, error)     { return fs.ReadLink(v.files, v.full(name)) }
func (v *virtual) open(name string) (fs.File, error)        { return v.files.Open(v.full(name)) }
func (v *virtual) xattrs(string) (map[string]string, error) { return nil, nil }
func (v *virtual) full(name string) string                  { return path.Join(v.path, name) }
func (v *virtual) close()                                   {}

func (v *virtual) fileXattrs(fs.File) (map[string]string, error) { return nil, nil }

func (v *virtual) enter(name string, _ fs.FileInfo) (directory, error) {
	return &virtual{v.files, v.full(name)}, nil
}

func (v *virtual) self() (fs.FileInfo, map[string]string, error) {
	info, err := fs.Stat(v.files, v.path)
	return info, nil, err
}
