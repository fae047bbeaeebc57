// Package local has the files of this machine that data is written to: archives and
// temporary files. Their errors have a type of their own, so that a full disk here is
// not taken for a failure of the data's source, and carry the name by which the user
// knows the file. The package knows nothing of the content.
package local

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
)

// Error means that this machine, and nothing else, has failed: a file here cannot be
// made, written or given its name.
type Error struct {
	Op   string // the operation, "write" for example
	Path string // to which file, as the user knows it
	Err  error
}

// Error returns the operation, the path and the cause.
func (e *Error) Error() string { return e.Op + " " + e.Path + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// File is an open file whose errors, except for io.EOF, are of type *Error. It
// may be used concurrently, as an *os.File may.
type File struct {
	file      *os.File
	name      string
	writeBack *writeBack // nil if the file will not be synced
	observe   func(Change)
	keepSame  bool
}

// NewFile returns a File that errors call by the given name. An unnamed file has
// none of its own, and a temporary one has one that means nothing to anybody.
func NewFile(f *os.File, name string) *File { return &File{file: f, name: name} }

// Name returns the file's name in errors.
func (f *File) Name() string { return f.name }

// Fd returns the file's descriptor or handle, for copies made by the kernel. It
// is valid until the file is closed.
func (f *File) Fd() uintptr { return f.file.Fd() }

// FileAt returns where the kernel finds the byte at an offset: there in the file
// itself, with all that follows. It is valid until the file is closed.
func (f *File) FileAt(off int64) (file *os.File, at, left int64) { return f.file, off, math.MaxInt64 }

// Write implements io.Writer.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	return n, f.wrap("write", err)
}

// KeepSame has WriteAt skip bytes that are the same already, so that they need not get
// to the disk again. Call it before anything is written.
func (f *File) KeepSame() { f.keepSame = true }

// has reports whether p is there already, and has been written: zeros are no hole.
func (f *File) has(p []byte, off int64) bool {
	if f.Written(off, int64(len(p))) < int64(len(p)) {
		return false
	}
	buf := make([]byte, min(len(p), 32<<10))
	for len(p) > 0 {
		n := min(len(p), len(buf))
		if _, err := f.file.ReadAt(buf[:n], off); err != nil || !bytes.Equal(buf[:n], p[:n]) {
			return false
		}
		p, off = p[n:], off+int64(n)
	}
	return true
}

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if f.keepSame && f.has(p, off) {
		return len(p), nil
	}
	n, err := f.file.WriteAt(p, off)
	f.wrote(n)
	f.tell(Change{Off: off, Data: p, Size: -1}, err)
	return n, f.wrap("write", err)
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.file.ReadAt(p, off)
	return n, f.wrap("read", err)
}

// Truncate changes the size of the file, in bytes.
func (f *File) Truncate(size int64) error {
	err := f.file.Truncate(size)
	f.tell(Change{Size: size}, err)
	return f.wrap("truncate", err)
}

// Close closes the file. A Write to a pipe that waits fails.
func (f *File) Close() error { return f.wrap("close", f.file.Close()) }

func (f *File) wrap(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return f.wrapFailure(op, err)
}

// wrapFailure replaces the name that the system knows.
func (f *File) wrapFailure(op string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return &Error{Op: op, Path: f.name, Err: err}
}
