package tarfile

import (
	"archive/tar"
	"fmt"
	"path"
	"strings"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// Lookup returns the regular file that name leads to, through symbolic and hard
// links if need be. The archive is the whole world: an absolute target counts
// from its root. The error wraps fs.ErrNotExist if nothing is there,
// errdef.ErrDamaged if it is no regular file or a link leads out of the
// archive, and errdef.ErrLimit if there are too many links, as in a loop.
func (x *Index) Lookup(name string) (Member, error) {
	c, err := clean(name)
	if err != nil {
		return Member{}, err
	}
	for range maxLinks {
		i, ok := x.byName[c]
		if !ok {
			// A directory on the way may be a link.
			next, err := x.followDir(c)
			if err != nil {
				return Member{}, fmt.Errorf("looking up %s: %w", readable(name), err)
			}
			if next == "" {
				if c != name {
					return Member{}, fmt.Errorf("looking up %s: %w", readable(name), errNotExist(c))
				}
				return Member{}, errNotExist(name)
			}
			c = next
			continue
		}
		switch e := &x.entries[i]; e.kind {
		case tar.TypeReg:
			return Member{Name: e.name, Offset: e.offset, Size: e.size}, nil
		case tar.TypeSymlink, tar.TypeLink:
			if c, err = e.target(); err != nil {
				return Member{}, fmt.Errorf("looking up %s: %w", readable(name), err)
			}
		default:
			return Member{}, damaged("%s is not a regular file but %s", readable(name), kindName(e.kind))
		}
	}
	return Member{}, fmt.Errorf("looking up %s: %w: more than %d links, probably in a loop", readable(name), errdef.ErrLimit, maxLinks)
}

// followDir replaces the first directory of name that is a link by the link's
// target. It returns "" if there is none.
func (x *Index) followDir(name string) (string, error) {
	for i, r := range name {
		if r != '/' {
			continue
		}
		n, ok := x.byName[name[:i]]
		if !ok || x.entries[n].kind != tar.TypeSymlink {
			continue
		}
		target, err := x.entries[n].target()
		if err != nil {
			return "", err
		}
		return clean(path.Join(target, name[i:]))
	}
	return "", nil
}

// target returns the cleaned name that a link points to. A hard link's target
// is relative to the root, a symbolic link's to its directory.
func (e *record) target() (string, error) {
	target := e.link
	if e.kind == tar.TypeSymlink && !strings.HasPrefix(target, "/") {
		target = path.Dir(e.name) + "/" + target
	}
	c, err := clean(target)
	if err != nil {
		return "", damaged("%s links to %s, which is outside of the archive", readable(e.name), readable(e.link))
	}
	return c, nil
}

// linkNow makes a hard link to an existing regular file one more name of it,
// whatever happens to the other name later.
func (x *Index) linkNow(e *record) {
	target, err := e.target()
	if err != nil {
		return // Lookup reports it.
	}
	if i, ok := x.byName[target]; ok && x.entries[i].kind == tar.TypeReg {
		other := x.entries[i]
		*e = record{name: e.name, start: e.start, offset: other.offset, size: other.size, kind: tar.TypeReg}
	}
}

func kindName(kind byte) string {
	switch kind {
	case tar.TypeDir:
		return "a directory"
	case tar.TypeChar, tar.TypeBlock:
		return "a device"
	case tar.TypeFifo:
		return "a named pipe"
	case tar.TypeGNUSparse:
		return "a sparse file of an unknown kind"
	}
	return fmt.Sprintf("an entry of type %q", kind)
}
