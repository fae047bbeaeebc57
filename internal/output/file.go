package output

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// createInPlace writes to an empty file that cannot be replaced.
func createInPlace(target string) (*Output, error) {
	f, err := os.OpenFile(target, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := claim(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Output{
		raw:    f,
		finish: closing(f),
		undo:   func() error { return errors.Join(f.Truncate(0), f.Close()) },
	}, nil
}

// claim keeps others of our kind from writing in place to the same file until it
// is closed.
func claim(f *os.File) error {
	if err := lock(f); err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != 0 { // They came between.
		err = ErrNotEmpty
	}
	return err
}

// createNamed writes to a temporary file with a name, beside the target. old
// describes the empty file that it replaces, if any.
func createNamed(target string, old fs.FileInfo) (*Output, error) {
	dir := dirOf(target) // Never "", which would be the directory for temporary files.
	f, err := os.CreateTemp(dir, "."+filepath.Base(target)+".*")
	if err != nil {
		return nil, err
	}
	remove := func() error { return errors.Join(f.Close(), os.Remove(f.Name())) }
	if err := dress(f, old); err != nil {
		return nil, errors.Join(err, remove())
	}
	return &Output{
		raw: f,
		dir: dir,
		finish: func(context.Context) error {
			if err := f.Close(); err != nil {
				return errors.Join(err, os.Remove(f.Name()))
			}
			return moveInto(f.Name(), target, old)
		},
		undo: remove,
	}, nil
}

// moveInto renames the file at name to the target, which must be the empty file
// that old describes, or must not exist. If it fails, the file is removed.
func moveInto(name, target string, old fs.FileInfo) error {
	own, err := os.Lstat(name)
	if err != nil {
		return err
	}
	err = move(name, target, old)
	if err == nil {
		return nil
	}
	// Remove only our own file: an exchange of names may have given this name to
	// another one.
	if left, statErr := os.Lstat(name); statErr == nil && os.SameFile(own, left) {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// moveByLink gives a file its final name, which must be free, by means that all
// systems have.
func moveByLink(name, target string) error {
	err := os.Link(name, target)
	switch {
	case err == nil:
		_ = os.Remove(name) // The archive has its path, even if the other name stays.
		return nil
	case errors.Is(err, fs.ErrExist):
		return appeared(target)
	}
	return moveOver(name, target, nil) // There are no hard links here.
}

// moveOver renames a file to the target if that still is the empty file that old
// describes, or nothing. A write to the target between the two is not noticed.
func moveOver(name, target string, old fs.FileInfo) error {
	if err := unchanged(target, old); err != nil {
		return err
	}
	return os.Rename(name, target)
}

// unchanged fails if somebody has written to the target, or put a file in its
// place, since old was seen there; a nil old means that there was nothing. A
// removed target is fine.
func unchanged(target string, old fs.FileInfo) error {
	info, err := os.Lstat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case old == nil || !os.SameFile(old, info) || info.Size() != 0:
		return appeared(target)
	}
	return nil
}

// appeared returns the error for something at the target that was not there.
func appeared(target string) error {
	info, err := os.Lstat(target)
	if err == nil && info.Size() != 0 {
		return ErrNotEmpty
	}
	return ErrAppeared
}
