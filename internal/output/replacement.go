package output

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// replacement is a file that is going to take the place of another one, which its maker
// has locked: nobody else makes one meanwhile.
type replacement struct {
	file   *os.File
	target string
	name   string                  // which the file has, or gets just before it replaces the other
	give   func(name string) error // gives it that name; nil if it has it
}

// newReplacement makes a file for the place of old, which is at target, with its mode and
// owner. It has no name if the system can do that. Otherwise the name is always the same
// for a target, so that the file of a process that was killed is found and removed.
func newReplacement(old *os.File, target string) (*replacement, error) {
	info, err := old.Stat()
	if err != nil {
		return nil, err
	}
	r := &replacement{target: target, name: filepath.Join(dirOf(target), "."+filepath.Base(target)+".replacement")}
	if err := r.clear(); err != nil {
		return nil, err
	}
	if r.file, r.give, err = openUnnamed(dirOf(target)); err != nil {
		r.file, err = os.OpenFile(r.name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		return nil, err
	}
	if err := dress(r.file, info); err != nil {
		return nil, errors.Join(err, r.discard())
	}
	return r, nil
}

// clear removes the file with the name.
func (r *replacement) clear() error {
	if err := os.Remove(r.name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// replace puts the file in the place of the other one, and closes it. If it fails,
// nothing is left of it.
func (r *replacement) replace() error {
	var err error
	if r.give != nil {
		err = errors.Join(r.clear(), r.give(r.name))
	}
	if err := errors.Join(err, r.file.Close()); err != nil {
		return errors.Join(err, r.clear())
	}
	if err := os.Rename(r.name, r.target); err != nil {
		return errors.Join(err, r.clear())
	}
	return nil
}

// discard closes the file, and leaves nothing of it.
func (r *replacement) discard() error {
	err := r.file.Close()
	if r.give != nil {
		return err
	}
	return errors.Join(err, r.clear())
}

// ReplaceByPath is Replace for a caller that needs a path to write the other archive to:
// one beside the old archive, with the same suffix. end is called with the error of that,
// and puts the other archive in the old one's place if there is none and something has
// been written. If there is no file with content, the path stays the same, and is written
// to as usual.
func ReplaceByPath(ctx context.Context, path string) (beside string, end func(error) error, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() == 0) {
		return path, func(err error) error { return err }, nil
	}
	old, target, err := openLocked(ctx, path, false)
	if err != nil {
		return "", nil, &Error{Op: "replacing", Path: path, Err: err}
	}
	r := &replacement{target: target, name: filepath.Join(dirOf(target), fmt.Sprintf("new-%08x-%s", rand.Uint32(), filepath.Base(path)))}
	return r.name, func(err error) error {
		defer old.Close() // It has only been locked.
		if err != nil {
			return errors.Join(err, r.clear())
		}
		r.file, err = os.OpenFile(r.name, os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // There was nothing to save.
		}
		if err == nil {
			err = errors.Join(isAt(old, target), dress(r.file, info))
		}
		if err != nil {
			return &Error{Op: "replacing", Path: path, Err: errors.Join(err, r.file.Close(), r.clear())}
		}
		if !hasLocks { // As on Windows, where no file is replaced that is open.
			_ = old.Close()
		}
		if err := r.replace(); err != nil {
			return &Error{Op: "replacing", Path: path, Err: err}
		}
		if err := syncDir(dirOf(target)); err != nil {
			return &Error{Op: "replacing", Path: path, Err: fmt.Errorf("%w: %w", ErrNotDurable, err)}
		}
		return nil
	}, nil
}
