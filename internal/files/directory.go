package files

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

const typeSymlink = tar.TypeSymlink

// Directory is the files of a directory of this machine, as a Side. Links are not
// followed.
type Directory struct{ root *os.Root }

// OpenDirectory opens a directory. The caller must close it.
func OpenDirectory(path string) (*Directory, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &Directory{root}, nil
}

// Close closes the directory.
func (d *Directory) Close() error { return d.root.Close() }

// All implements Side.
func (d *Directory) All(ctx context.Context) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) { d.walk(ctx, "", yield) }
}

func (d *Directory) walk(ctx context.Context, path string, yield func(*Entry, error) bool) bool {
	e, err := d.entry(path)
	if err = errors.Join(err, ctx.Err()); err != nil {
		yield(nil, err)
		return false
	}
	if e == nil { // A socket, which no image has.
		return true
	}
	if !yield(e, nil) {
		return false
	}
	if !e.IsDir() {
		return true
	}
	names, err := d.names(path)
	if err != nil {
		yield(nil, err)
		return false
	}
	for _, name := range names {
		if !d.walk(ctx, layertar.Join(path, name), yield) {
			return false
		}
	}
	return true
}

func (d *Directory) names(path string) ([]string, error) {
	dir, err := d.root.Open(inSystem(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // It was only read.
	names, err := dir.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// inSystem returns a path as the system has it.
func inSystem(path string) string {
	if path == "" {
		return "."
	}
	return filepath.FromSlash(path)
}

// entry returns what is at a path, nil if images have nothing like it.
func (d *Directory) entry(path string) (*Entry, error) {
	info, err := d.root.Lstat(inSystem(path))
	if err != nil {
		return nil, err
	}
	if info.Mode()&fs.ModeSocket != 0 {
		return nil, nil
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = d.root.Readlink(inSystem(path)); err != nil {
			return nil, err
		}
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if h.PAXRecords, err = d.xattrs(path, info); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f := newMaker(0).file(h, place{})
	return &Entry{Path: path, File: f}, nil
}

// Sums implements Side.
func (d *Directory) Sums(ctx context.Context, all []*Entry, sum func(*Entry, [sha256.Size]byte)) error {
	for _, e := range all {
		f, err := d.root.Open(inSystem(e.Path))
		if err != nil {
			return err
		}
		h := sha256.New()
		_, err = io.Copy(h, async.WithContext(ctx, f))
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %w", strings.TrimPrefix(e.Path, "/"), err)
		}
		sum(e, [sha256.Size]byte(h.Sum(nil)))
	}
	return nil
}
