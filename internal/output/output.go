// Package output writes an archive to its destination: a file that appears at its
// path complete or not at all, or a stream. It knows nothing of the content.
package output

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/local"
)

// Errors of Create and Commit that a caller may want to tell apart.
var (
	// ErrNotEmpty means that the target holds data, which is left untouched.
	ErrNotEmpty = errdef.ErrNotEmpty
	// ErrAppeared means that somebody has put another file in the place of the
	// target, or where there was none, since Create; it is empty and left untouched.
	// If it is not empty, the error is ErrNotEmpty.
	ErrAppeared = errdef.ErrAppeared
	// ErrBusy means that the target, which cannot be replaced, is being written in
	// place by another process, or another Output of this one.
	ErrBusy = errdef.ErrBusy
	// ErrNotDurable means that the archive is complete at its path, and that its name
	// may be lost if the machine stops.
	ErrNotDurable = errors.New("the archive is there, but it could not be made sure that it stays if the machine stops")
	// ErrTerminal means that the target is a terminal.
	ErrTerminal = errdef.ErrTerminal
)

// Error is the type of every error of this package and of the files and streams
// that it hands out: this machine failed, not a source of data.
type Error = local.Error

// File is a file to write to. Its errors are of type *Error and name the path
// that was given to Create.
type File = local.File

// Output is an archive that is being written. Commit or Abort must be called
// once; Abort after Commit does nothing. Methods must not be called concurrently,
// but Abort and Commit may be while something is written to the file or stream,
// which then fails.
type Output struct {
	path   string // as the caller gave it, for errors
	raw    *os.File
	file   *File     // nil if it is a stream, or in parts
	split  *split    // nil unless it is in parts
	writer io.Writer // nil if it is a file
	dir    string
	stream bool
	// appears is set for a stream that appears at its path at Commit: a compressed file or an
	// object.
	appears bool
	remote  *remote // nil unless it is in an object store
	noSync  bool
	change  *change                     // nil for a new archive
	partial string                      // the name of the file while it is incomplete, if it may stay so
	finish  func(context.Context) error // makes the file appear at its path; closes it
	undo    func() error                // leaves the path as it was; closes the file
}

// Create prepares to write to path. A regular file appears there, with mode 0644
// less the umask, at Commit. Symbolic links are followed. An empty file is
// replaced, keeping its mode and owner. If it is a mount point, or its directory
// is read-only, it is written in place. Pipes and devices, and standard output
// under the names /dev/stdout and "-", are streams. So are objects in stores (see Register),
// except that they appear at Commit as files do.
//
// A FIFO is opened when somebody opens it for reading, which may take as long as
// ctx lasts; ctx has no effect later. The error wraps that of ctx, or one of this
// package's, or a *fs.PathError.
func Create(ctx context.Context, path string) (*Output, error) {
	scheme, elsewhere, err := schemeOf(path)
	var o *Output
	switch {
	case err != nil:
	case elsewhere:
		o, err = createRemote(ctx, scheme, path, remoteOptions(ctx))
	default:
		o, err = create(ctx, path)
	}
	if err != nil {
		return nil, &Error{Op: "creating", Path: path, Err: err}
	}
	if elsewhere {
		return o, nil
	}
	o.path = path
	if file := local.NewFile(o.raw, path); o.stream {
		o.writer = file
	} else {
		file.WriteBackEarly()
		o.file = file
	}
	return o, nil
}

// NoSync says that Commit need not wait for the disk. Call it before anything is
// written.
func (o *Output) NoSync() {
	o.noSync = true
	if o.split != nil {
		o.split.doNotSync()
	}
	if o.file != nil {
		o.setFile(o.raw)
	}
}

// ToWriter returns an Output that is a stream to w, which is never closed.
// Errors call it "a stream".
func ToWriter(w io.Writer) *Output {
	const path = "a stream"
	return &Output{path: path, writer: &foreignWriter{w, path}, stream: true, finish: func(context.Context) error { return nil }, undo: func() error { return nil }}
}

func create(ctx context.Context, path string) (*Output, error) {
	if path == "" {
		return nil, errors.New("the path is empty")
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
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
		open := openDevice
		if info.Mode()&fs.ModeNamedPipe != 0 {
			open = openFIFO
		}
		f, err := open(ctx, target)
		if err != nil {
			return nil, err
		}
		return openStream(f)
	case info.Size() != 0:
		return nil, ErrNotEmpty
	}
	os.SameFile(info, info) // Windows looks up only then which file it is.
	if !replaceable(target) {
		return createInPlace(target)
	}
	o, err := createBeside(target, info)
	if errors.Is(err, fs.ErrPermission) || isReadOnly(err) {
		return createInPlace(target)
	}
	return o, err
}

// resolve follows symbolic links until there are none, also if the last one points
// to nothing yet. If one of them names a file that this process has open, it
// returns that.
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

// Stream reports whether the output is written from start to end and cannot be
// taken back.
func (o *Output) Stream() bool { return o.stream }

// Undoable reports whether Abort leaves the path as it was.
func (o *Output) Undoable() bool { return !o.stream || o.appears }

// File returns the file to write to, any part of it at any time, or nil if the
// output is a stream, or several files.
func (o *Output) File() *File { return o.file }

// RandomAccess can be written anywhere at any time. Its errors are of type *Error.
type RandomAccess interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
}

// RandomAccess returns the file or files to write to, if the output is no stream.
func (o *Output) RandomAccess() RandomAccess {
	if o.split != nil {
		return o.split
	}
	return o.file
}

// Writer returns the writer to use from start to end if the output is a stream,
// else nil. Its errors are of type *Error.
func (o *Output) Writer() io.Writer { return o.writer }

// Dir returns the directory where the archive will be, if other files can be made
// there, else "".
func (o *Output) Dir() string { return o.dir }

// Commit makes the archive appear at its path. Unless NoSync was called, its bytes
// are on the disk before it does, and its name when Commit returns: if the machine
// stops meanwhile, the path leads to the old file, or to the whole archive. A
// stream is not synced.
//
// If Commit fails, as it does if ctx has ended before, the path is unchanged,
// unless only the sync of the name failed: the error is an ErrNotDurable then.
//
// If there are two Outputs for the same path, one fails with ErrNotEmpty. Where the
// system can exchange two files (on Linux, most file systems), or give a new file
// its name without replacing another one (hard links), that is certain; elsewhere
// the path is looked at just before the archive is renamed to it.
func (o *Output) Commit(ctx context.Context) error {
	if o.finish == nil {
		return fs.ErrClosed
	}
	if err := context.Cause(ctx); err != nil {
		return errors.Join(o.failure("completing", err), o.Abort())
	}
	if o.split != nil {
		if err := o.split.complete(ctx); err != nil {
			return errors.Join(o.failure("completing", err), o.Abort())
		}
	} else if !o.stream && !o.noSync && (o.change == nil || o.change.block != nil) {
		if err := syncFile(cmp.Or(o.file, local.NewFile(o.raw, o.path))); err != nil {
			if o.partial != "" { // Bytes that did not get to the disk read as if they had, and would not be written again.
				err = errors.Join(err, o.raw.Truncate(0))
			}
			return errors.Join(o.failure("syncing", err), o.Abort())
		}
	}
	finish := o.finish
	o.finish, o.undo = nil, nil
	if o.stream && !o.appears {
		return o.failure("completing", closeStream(ctx, finish))
	}
	if err := finish(ctx); err != nil {
		return o.failure("completing", err)
	}
	if o.noSync || o.dir == "" || o.change != nil { // A file written in place already had its name.
		return nil
	}
	if err := syncDir(o.dir); err != nil {
		return o.failure("completing", fmt.Errorf("%w: %w", ErrNotDurable, err))
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
	return o.failure("discarding what was written for", undo())
}

func (o *Output) failure(op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Path: o.path, Err: err}
}
