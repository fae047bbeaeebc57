package squash

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// file is a file as a layer has it. Several paths may lead to it.
type file struct {
	header       *tar.Header // with the name that it has in its layer
	layer, index int         // which entry of which layer it is
}

// isDir reports whether it is a directory. One that no entry speaks of is one.
func (f *file) isDir() bool { return f == nil || f.header.Typeflag == tar.TypeDir }

// isLink reports whether it is a symbolic link. No hard link is ever kept.
func (f *file) isLink() bool { return f != nil && f.header.Typeflag == tar.TypeSymlink }

// change is an entry that puts a file under a path.
type change struct {
	path string
	*file
}

// changes is what a layer does to those below it.
type changes struct {
	removed []string // paths of which whiteouts speak
	opaque  []string // directories
	added   []change // in the layer's order
}

// readChanges reads a layer.
func readChanges(ctx context.Context, r io.Reader, layer int, limits *limits) (*changes, error) {
	found, index := &changes{}, -1
	err := layertar.Each(ctx, r, func(h *tar.Header, _ io.Reader) error {
		index++
		if err := limits.take(h); err != nil {
			return err
		}
		path, err := layertar.Clean(h.Name)
		if err != nil {
			return err
		}
		if strings.HasPrefix(path, layertar.WhiteoutPrefix) || strings.Contains(path, "/"+layertar.WhiteoutPrefix) {
			return found.remove(path)
		}
		if err := check(h, path); err != nil {
			return err
		}
		found.added = append(found.added, change{path, &file{kept(h), layer, index}})
		return nil
	})
	return found, err
}

// remove notes what a name with ".wh." in it says.
func (c *changes) remove(path string) error {
	dir, base := layertar.Split(path)
	for element := range strings.SplitSeq(dir, "/") {
		switch {
		case strings.HasPrefix(element, layertar.MetaPrefix):
			return nil
		case strings.HasPrefix(element, layertar.WhiteoutPrefix):
			return fmt.Errorf("%q is a file in a whiteout: %w", path, errdef.ErrDamaged)
		}
	}
	switch hidden := strings.TrimPrefix(base, layertar.WhiteoutPrefix); {
	case base == layertar.OpaqueMarker:
		c.opaque = append(c.opaque, dir)
	case strings.HasPrefix(base, layertar.MetaPrefix):
	case hidden == "" || hidden == "." || hidden == "..":
		return fmt.Errorf("%q is a whiteout of no file: %w", path, errdef.ErrDamaged)
	default:
		c.removed = append(c.removed, layertar.Join(dir, hidden))
	}
	return nil
}

// check refuses what cannot be a file.
func check(h *tar.Header, path string) error {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse, tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo:
	default:
		return fmt.Errorf("%q is of the unknown type %q: %w", path, h.Typeflag, errdef.ErrDamaged)
	}
	switch {
	case path == "" && h.Typeflag != tar.TypeDir:
		return fmt.Errorf("the root is not a directory but of the type %q: %w", h.Typeflag, errdef.ErrDamaged)
	case h.Size < 0:
		return fmt.Errorf("%q has a negative size: %w", path, errdef.ErrDamaged)
	case len(h.Linkname) > layertar.MaxPath:
		return fmt.Errorf("the target of the link %q has %d bytes: %w", path, len(h.Linkname), errdef.ErrLimit)
	}
	return nil
}

// kept returns what of a header is kept.
func kept(h *tar.Header) *tar.Header {
	h = layertar.Plain(h)
	h.Uname, h.Gname = "", ""
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	h.Mode &= 0o7777 // Old tars have the type in it too.
	if h.Typeflag != tar.TypeLink && h.Typeflag != tar.TypeSymlink {
		h.Linkname = ""
	}
	if h.Typeflag != tar.TypeChar && h.Typeflag != tar.TypeBlock {
		h.Devmajor, h.Devminor = 0, 0
	}
	return h
}
