// Package output is where the bytes of an archive end up: a file that appears
// at its path complete or not at all, or a stream. It knows nothing of what is
// written.
package output

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// Errors of Create and Commit that a caller may want to tell apart.
var (
	// ErrNotEmpty means that the target holds data, which is left untouched.
	ErrNotEmpty = errdef.ErrNotEmpty
	// ErrTerminal means that the target is a terminal.
	ErrTerminal = errdef.ErrTerminal
)

// Output is an archive that is being written. Commit or Abort must be called
// once; Abort after Commit does nothing.
type Output struct {
	path   string // as the caller gave it, for errors
	file   *os.File
	dir    string
	stream bool
	finish func() error // makes the file appear at its path; closes it
	undo   func() error // leaves the path as it was; closes the file
}

// Create prepares to write to path. A regular file appears there, with mode
// 0644 less the umask, at Commit; symbolic links are followed; an empty file is
// replaced, keeping its mode and owner, or, where that cannot be done because it
// is a mount point or its directory is read-only, written in place. Pipes and
// devices, and standard output under the names /dev/stdout and "-", are streams.
func Create(path string) (*Output, error) {
	o, err := create(path)
	if err != nil {
		return nil, fmt.Errorf("creating %s: %w", path, err)
	}
	o.path = path
	return o, nil
}

func create(path string) (*Output, error) {
	if path == "" {
		return nil, errors.New("the path is empty")
	}
	target, open, err := resolve(path)
	if err != nil {
		return nil, err
	}
	if open != nil {
		return openStream(open)
	}
	info, err := os.Stat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return createBeside(target, nil)
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("is a directory")
	case !info.Mode().IsRegular():
		f, err := os.OpenFile(target, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		return openStream(f)
	case info.Size() != 0:
		return nil, ErrNotEmpty
	}
	if !replaceable(target) {
		return createInPlace(target)
	}
	o, err := createBeside(target, info)
	if errors.Is(err, fs.ErrPermission) || isReadOnly(err) {
		return createInPlace(target)
	}
	return o, err
}

// openStream makes an Output of an open file that is written from start to end.
func openStream(f *os.File) (*Output, error) {
	err := func() error {
		if term.IsTerminal(int(f.Fd())) {
			return ErrTerminal
		}
		info, err := f.Stat()
		if err == nil && info.Mode().IsRegular() && info.Size() != 0 {
			return ErrNotEmpty
		}
		return err
	}()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Output{file: f, stream: true, finish: f.Close, undo: f.Close}, nil
}

// resolve follows symbolic links, also where the last one points to nothing yet,
// until there are none, or one of them names a file that this process has open,
// which it returns.
func resolve(path string) (string, *os.File, error) {
	const maxLinks = 40 // as many as Linux follows
	for range maxLinks {
		if f, err := inherited(path); f != nil || err != nil {
			return "", f, err
		}
		link, err := os.Readlink(path)
		if err != nil {
			return path, nil, nil
		}
		if !filepath.IsAbs(link) {
			link = dirOf(path) + string(filepath.Separator) + link
		}
		path = link
	}
	return "", nil, errors.New("too many levels of symbolic links")
}

// dirOf returns the directory of a path as the system sees it. filepath.Dir drops
// "name/..", which leads elsewhere if name is a symbolic link.
func dirOf(path string) string {
	dir, _ := filepath.Split(path)
	return cmp.Or(dir, ".")
}

// createInPlace writes to an empty file that cannot be replaced.
func createInPlace(target string) (*Output, error) {
	f, err := os.OpenFile(target, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &Output{
		file:   f,
		finish: f.Close,
		undo:   func() error { return errors.Join(f.Truncate(0), f.Close()) },
	}, nil
}

// createNamed writes to a temporary file with a name, beside the target. old
// describes the empty file that it replaces, if any.
func createNamed(target string, old fs.FileInfo) (*Output, error) {
	dir, base := filepath.Split(target)
	f, err := os.CreateTemp(dir, "."+base+".*")
	if err != nil {
		return nil, err
	}
	remove := func() error { return errors.Join(f.Close(), os.Remove(f.Name())) }
	if err := dress(f, old); err != nil {
		return nil, errors.Join(err, remove())
	}
	return &Output{
		file: f,
		dir:  dirOf(target),
		finish: func() error {
			err := f.Close()
			if err == nil {
				err = moveInto(f.Name(), target, old != nil)
			}
			if err != nil {
				return errors.Join(err, os.Remove(f.Name()))
			}
			return nil
		},
		undo: remove,
	}, nil
}

// stillEmpty fails if somebody has written to the target since Create.
func stillEmpty(target string) error {
	info, err := os.Stat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Size() != 0 {
		err = ErrNotEmpty
	}
	return err
}

// Stream reports whether the output is written from start to end and cannot be
// taken back.
func (o *Output) Stream() bool { return o.stream }

// File returns the file to write to: any part of it at any time if the output is
// not a stream.
func (o *Output) File() *os.File { return o.file }

// Dir returns the directory where the archive will be, if other files can be made
// there, else "".
func (o *Output) Dir() string { return o.dir }

// Commit makes the archive appear at its path. It is not flushed to the disk's
// medium; like all new files it may be lost if the machine, not just the process,
// stops. If Commit fails, the path holds what it held before.
func (o *Output) Commit() error {
	if o.finish == nil {
		return fs.ErrClosed
	}
	finish := o.finish
	o.finish, o.undo = nil, nil
	if err := finish(); err != nil {
		return fmt.Errorf("completing %s: %w", o.path, err)
	}
	return nil
}

// Abort leaves the path as it was, except that a stream cannot be taken back.
func (o *Output) Abort() error {
	if o.undo == nil {
		return nil
	}
	undo := o.undo
	o.finish, o.undo = nil, nil
	if err := undo(); err != nil {
		return fmt.Errorf("discarding what was written for %s: %w", o.path, err)
	}
	return nil
}
