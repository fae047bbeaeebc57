package output

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/dockerarchive/dockerarchive/internal/local"
)

// PartialSuffix is the suffix that CreatePartial appends to the path of an archive.
const PartialSuffix = ".partial"

// renewedSuffix is appended to the name of a partial file for the one that Renew makes.
const renewedSuffix = ".new"

// CreatePartial is Create for an archive that is written to a file of its own name and
// PartialSuffix. If an earlier run did not finish, the file is still there, and not empty:
// File has the bytes of that run. It stays also if the Output is aborted, unless it is empty
// or could not be synced. It is locked: the error is ErrBusy if somebody else writes to it,
// and errors.ErrUnsupported where there are no locks.
//
// In an object store the sent parts stay instead. A part is not sent again if the store has the
// same.
//
// Streams have no such file, and an archive at the path, which must be a regular file,
// is not replaced.
func CreatePartial(ctx context.Context, path string) (*Output, error) {
	scheme, elsewhere, err := schemeOf(path)
	var o *Output
	switch {
	case err != nil:
	case elsewhere:
		options := remoteOptions(ctx)
		options.Resume = true
		o, err = createRemote(ctx, scheme, path, options)
	default:
		o, err = createPartial(ctx, path)
	}
	if err != nil {
		return nil, &Error{Op: "creating", Path: path, Err: err}
	}
	return o, nil
}

func createPartial(ctx context.Context, path string) (*Output, error) {
	if !hasLocks {
		return nil, fmt.Errorf("a file that can be gone on with needs a lock: %w", errors.ErrUnsupported)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	target, open, err := resolve(path)
	if err != nil {
		return nil, err
	}
	if open != nil {
		return nil, errors.Join(errStream, open.Close())
	}
	if _, err := vacant(target); err != nil { // Before there is a file beside it.
		return nil, err
	}
	name := target + PartialSuffix
	f, err := openPartial(name)
	if err != nil {
		return nil, err
	}
	o := &Output{path: path, dir: dirOf(target), partial: name}
	o.setFile(f)
	o.undo = func() error { return errors.Join(removeIfEmpty(o.raw, name), o.raw.Close()) }
	old, err := vacant(target) // Another process that had the lock may have completed it.
	if err != nil {
		return nil, errors.Join(err, o.undo())
	}
	o.finish = func(context.Context) error {
		_ = os.Remove(name + renewedSuffix) // It may have been left by a kill.
		var err error
		if !isItself(o.raw, name) {
			err = ErrChanged
		} else if old != nil {
			err = dress(o.raw, old)
		}
		if err == nil {
			err = move(name, target, old)
		}
		return errors.Join(err, o.raw.Close()) // Not before, so that nobody else begins to write to it.
	}
	return o, nil
}

// ErrForeign means that a file that would be gone on with may not be this user's work.
var ErrForeign = errors.New("this user did not write the file")

var errStream = errors.New("what is written to a stream cannot be gone on with; name a file")

// vacant returns the empty file at a path, nil if there is none, or an error if something
// else is there.
func vacant(target string) (fs.FileInfo, error) {
	info, err := os.Stat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("is a directory")
	case !info.Mode().IsRegular():
		return nil, errStream
	case info.Size() != 0:
		return nil, ErrNotEmpty
	}
	return info, nil
}

// openPartial opens and locks the file at a path, which it makes if there is none. An
// existing file must be this user's own, and have no other name.
func openPartial(name string) (*os.File, error) {
	for {
		f, made, err := openOrMake(name)
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			continue // Somebody was quicker.
		}
		if err != nil {
			return nil, err
		}
		if err := lock(f); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
		}
		if !isItself(f, name) { // Another process that had the lock has renamed it.
			if err := f.Close(); err != nil {
				return nil, err
			}
			continue
		}
		if made {
			return f, nil
		}
		if err := adopt(f, name); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return f, nil
	}
}

// openOrMake opens the regular file at a path, not the target of a link, or makes one.
func openOrMake(name string) (f *os.File, made bool, err error) {
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644) // Never through a link to another file.
		return f, true, err
	case err != nil:
		return nil, false, err
	case !info.Mode().IsRegular():
		return nil, false, fmt.Errorf("%s is not a regular file", name)
	}
	f, err = os.OpenFile(name, os.O_RDWR|openItself, 0)
	return f, false, err
}

// adopt fails unless an opened file may be continued, and gives it the mode of a new one.
// Its name can be guessed: anybody who may write to the directory could have put a link to
// another file there, or a file of their own.
func adopt(f *os.File, name string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", name)
	}
	if err := checkOwn(info, name); err != nil {
		return fmt.Errorf("%w; remove it, or save to another path", err)
	}
	return dress(f, nil)
}

// isItself reports whether a file has a name itself, not through a link.
func isItself(f *os.File, name string) bool {
	here, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(name)
	return err == nil && os.SameFile(here, there)
}

func removeIfEmpty(f *os.File, name string) error {
	info, err := f.Stat()
	if err != nil || info.Size() > 0 {
		return err
	}
	return os.Remove(name)
}

func (o *Output) setFile(f *os.File) {
	o.raw, o.file = f, local.NewFile(f, o.path)
	if o.partial != "" { // The same bytes are written where they were read.
		o.file.KeepSame()
	}
	if !o.noSync {
		o.file.WriteBackEarly()
	}
}

// Renew puts a new file in the place of a partial one, once fill has copied the bytes to
// keep. If it fails, all is as it was. File is the new one afterwards.
func (o *Output) Renew(fill func(old, renewed *File) error) error {
	name := o.partial + renewedSuffix
	err := os.Remove(name) // It may have been left by a kill.
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644) // Nor through a link.
	}
	if err != nil {
		return o.failure("creating", err)
	}
	err = lock(f) // Before it has the name that others look for.
	if err == nil {
		err = fill(o.file, local.NewFile(f, o.path))
	}
	if err == nil {
		err = os.Rename(name, o.partial)
	}
	if err != nil {
		return o.failure("rearranging", errors.Join(err, os.Remove(name), f.Close()))
	}
	old := o.raw
	o.setFile(f)
	return old.Close()
}

// Allocated returns how many bytes of the disk the file takes already.
func (o *Output) Allocated() int64 {
	if o.partial == "" {
		return 0
	}
	n, err := o.file.Allocated()
	if err != nil {
		return 0
	}
	return n
}
