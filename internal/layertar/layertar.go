// Package layertar has the parts of the tar of an image's layer: names, whiteouts,
// headers that say the same everywhere, and the tree of files that layers add up to. It
// reads no directories and merges no layers, and it knows nothing of images.
//
// Paths in this package are slash-separated, relative to the root of the image and
// clean: "usr/bin/env". The root itself is "". They are any bytes but NUL; nothing
// takes them for UTF-8.
package layertar

import (
	"fmt"
	"path"
	"strings"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// Names that remove files of lower layers.
const (
	// WhiteoutPrefix before the last element of a path says that lower layers have
	// no such file.
	WhiteoutPrefix = ".wh."
	// MetaPrefix begins names that say something of their directory. All except
	// OpaqueMarker are remains of aufs, and mean nothing to others.
	MetaPrefix = WhiteoutPrefix + WhiteoutPrefix
	// OpaqueMarker says of its directory that lower layers have nothing in it.
	OpaqueMarker = MetaPrefix + ".opq"
)

// MaxPath is how long a path may be, in bytes: PATH_MAX of Linux. No runtime could
// unpack a longer one.
const MaxPath = 4096

// Clean returns the path of an entry's name. "./usr//bin/" and "/usr/bin" are
// "usr/bin", as for all clients. It is an ErrDamaged if the name leads out of the root,
// and an ErrLimit if it is longer than MaxPath.
func Clean(name string) (string, error) {
	if len(name) > MaxPath {
		return "", fmt.Errorf("the name %.40q… has %d bytes: %w", name, len(name), errdef.ErrLimit)
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	switch {
	case clean == ".":
		return "", nil
	case LeadsOut(name):
		return "", fmt.Errorf("the name %q leads out of the layer: %w", name, errdef.ErrDamaged)
	case strings.IndexByte(clean, 0) >= 0:
		return "", fmt.Errorf("the name %q has a NUL in it: %w", name, errdef.ErrDamaged)
	}
	return clean, nil
}

// LeadsOut reports whether an entry's name leads out of the root, as "../x" and "a/../../x" do.
func LeadsOut(name string) bool {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	return clean == ".." || strings.HasPrefix(clean, "../")
}

// Inside returns the name that clients use for a name that leads out of the root: the
// directory above the root is the root. Other names stay as they are.
func Inside(name string) string {
	if !LeadsOut(name) {
		return name
	}
	inside := path.Clean("/" + name)[1:]
	if inside == "" {
		return "./"
	}
	if strings.HasSuffix(name, "/") {
		inside += "/"
	}
	return inside
}

// Compare compares two paths, for slices.SortFunc: the elements bytewise, and a
// directory before its content. It is the order of a walk through a tree with sorted
// directories, and not that of strings.Compare, which puts "a-b" before "a/b".
func Compare(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		switch {
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		}
		return int(a[i]) - int(b[i])
	}
	return len(a) - len(b)
}

// Split returns the directory of a path and its last element.
func Split(name string) (dir, base string) {
	i := strings.LastIndexByte(name, '/')
	return name[:max(i, 0)], name[i+1:]
}

// Join returns the path of a file in a directory.
func Join(dir, base string) string {
	if dir == "" {
		return base
	}
	return dir + "/" + base
}
