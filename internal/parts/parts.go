// Package parts names and describes an archive that is split into several files:
// NAME.000, NAME.001 and so on. The last one ends with a list of all. Joined, they are
// the archive, with that list behind its end. The package knows nothing of their
// content.
package parts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dockerarchive/dockerarchive/errdef"
)

const (
	// Max is how many parts there may be: as many as three digits tell apart.
	Max = 1000
	// MinSize is the least size of a part, in bytes: the list must fit into one.
	MinSize = 1 << 20
	digits  = 3
)

// Name returns the path of a part of the archive at path.
func Name(path string, number int) string { return fmt.Sprintf("%s.%0*d", path, digits, number) }

// Split returns the path of the archive to which the part at a path belongs, by its
// name alone, and the number of the part.
func Split(path string) (archive string, number int, ok bool) {
	dot := len(path) - digits - 1
	if dot < 1 || path[dot] != '.' || os.IsPathSeparator(path[dot-1]) {
		return "", 0, false
	}
	for _, c := range path[dot+1:] {
		if c < '0' || c > '9' {
			return "", 0, false
		}
		number = 10*number + int(c-'0')
	}
	return path[:dot], number, true
}

// Find returns the numbers of the existing parts of the archive at path, in their
// order, by names alone.
func Find(path string) ([]int, error) {
	dir, name := split(path)
	found, err := inDir(dir)
	return found[name], err
}

// InDir returns the path of the only archive in parts in a directory, or "" if there
// is none. It is an error if there are several.
func InDir(dir string) (string, error) {
	found, err := inDir(dir)
	if err != nil {
		return "", err
	}
	var names []string
	for name := range found {
		names = append(names, name)
	}
	switch len(names) {
	case 0:
		return "", nil
	case 1:
		return filepath.Join(dir, names[0]), nil
	}
	slices.Sort(names)
	return "", fmt.Errorf("it holds parts of several archives, %s: say which by its first part", strings.Join(names, ", "))
}

func inDir(dir string) (map[string][]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	found := map[string][]int{}
	for _, e := range entries {
		if name, number, ok := Split(e.Name()); ok && !e.IsDir() && !strings.HasPrefix(name, ".") {
			found[name] = append(found[name], number)
		}
	}
	return found, nil
}

// split splits a path as the system sees it: filepath.Dir drops "name/..".
func split(path string) (dir, name string) {
	dir, name = filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	return dir, name
}

// Contains reports whether a file belongs to an archive in parts, or is a directory
// with the parts of one. One of the existing parts must have the list.
func Contains(path string) bool {
	archive, _, ok := Split(path)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		archive, err = InDir(path)
		ok = err == nil && archive != ""
	}
	if !ok {
		return false
	}
	numbers, err := Find(archive)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(numbers, func(n int) bool { return hasList(Name(archive, n)) })
}

func hasList(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() // It is only read.
	info, err := f.Stat()
	if err != nil {
		return false
	}
	l, err := Read(f, info.Size())
	return l != nil || errors.Is(err, errdef.ErrDamaged)
}
