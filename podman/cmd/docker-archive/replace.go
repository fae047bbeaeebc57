package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/dockerarchive/dockerarchive/internal/output"
)

// replacing returns the path to write to, beside an archive that is to be replaced, and
// what puts it in that one's place once it is complete. Until then, and after a failure,
// the old one stays. What is no file with content is written to as ever.
func replacing(path string) (string, func() error, error) {
	nothing := func() error { return nil }
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() == 0) {
		return path, nothing, nil
	}
	var target string
	if err == nil {
		target, err = filepath.EvalSymlinks(path) // The file is replaced, not a link to it.
	}
	if err != nil {
		return "", nil, fmt.Errorf("replacing %s: %w", path, err)
	}
	// The end of the name says how the archive is compressed.
	beside := filepath.Join(filepath.Dir(target), fmt.Sprintf("new-%08x-%s", rand.Uint32(), filepath.Base(path)))
	return beside, func() error {
		err := os.Chmod(beside, info.Mode().Perm())
		if errors.Is(err, fs.ErrNotExist) {
			return nil // Nothing could be saved.
		}
		if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
			err = nil // The file system has no modes.
		}
		if err == nil {
			err = os.Rename(beside, target)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("replacing %s: %w", path, err), os.Remove(beside))
		}
		if err := output.SyncNames(filepath.Dir(target)); err != nil {
			return fmt.Errorf("replacing %s: %w: %w", path, output.ErrNotDurable, err)
		}
		return nil
	}, nil
}
