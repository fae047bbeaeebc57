package output

import (
	"errors"
	"io/fs"
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
// owner. Where the system can, it has no name. Else it has one that is always the same for
// a target, so that what a process that was killed has left is found and removed.
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

// clear removes what has the name of the file.
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

// discard closes the file, of which nothing is left.
func (r *replacement) discard() error {
	err := r.file.Close()
	if r.give != nil {
		return err
	}
	return errors.Join(err, r.clear())
}
