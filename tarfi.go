package dockerarchive

import (
	"archive/tar"
	"io/fs"
	"time"
)

// tarFI is the fs.FileInfo behind every tar header of an archive. It has no
// time, no owner and one mode per type of entry, so that equal images make equal
// bytes.
type tarFI struct {
	name string
	size int64
	mode fs.FileMode
}

// Name returns the whole name of the entry, directories included.
func (fi tarFI) Name() string { return fi.name }

// Size returns the size in bytes.
func (fi tarFI) Size() int64 { return fi.size }

// Mode returns the type and the permissions.
func (fi tarFI) Mode() fs.FileMode { return fi.mode }

// ModTime returns the same time for every entry.
func (fi tarFI) ModTime() time.Time { return time.Unix(0, 0) }

// IsDir reports whether the entry is a directory.
func (fi tarFI) IsDir() bool { return fi.mode.IsDir() }

// Sys returns nil: nothing of this machine gets into a header.
func (fi tarFI) Sys() any { return nil }

// fileHeader describes a regular file.
func fileHeader(name string, size int64) (*tar.Header, error) {
	return tar.FileInfoHeader(tarFI{name: name, size: size, mode: 0o444}, "")
}

// symlinkHeader describes a symbolic link. containers/image writes links
// without permission bits, and so do we.
func symlinkHeader(name, target string) (*tar.Header, error) {
	return tar.FileInfoHeader(tarFI{name: name, mode: fs.ModeSymlink}, target)
}

// directoryHeader describes a directory.
func directoryHeader(name string) (*tar.Header, error) {
	return tar.FileInfoHeader(tarFI{name: name, mode: fs.ModeDir | 0o755}, "")
}
