package squash

import (
	"archive/tar"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"time"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// file is a file as a layer has it. Several paths may lead to it. An image has a hundred
// thousand of them, so they are small.
type file struct {
	*attributes
	size        int64
	seconds     int64 // of its time
	nanoseconds int32
	name        uint32 // checksum of the name that it has in its layer
	layer       int32  // which entry of which layer it is
	index       int32
	first       *node // of those that lead to it, if it is no directory; known when all layers are
}

// attributes are what many files have in common.
type attributes struct {
	traits
	records map[string]string // PAX records
}

// traits are the attributes that can be compared.
type traits struct {
	typeflag           byte
	mode               int64
	uid, gid           int
	devmajor, devminor int64
	linkname           string
}

// isDir reports whether it is a directory. One that no entry speaks of is one.
func (f *file) isDir() bool { return f == nil || f.typeflag == tar.TypeDir }

// isLink reports whether it is a symbolic link. No hard link is ever kept.
func (f *file) isLink() bool { return f != nil && f.typeflag == tar.TypeSymlink }

// header returns the header of the file under a name.
func (f *file) header(name string) *tar.Header {
	return &tar.Header{
		Typeflag: f.typeflag, Name: name, Linkname: f.linkname, Size: f.size, Mode: f.mode, Uid: f.uid, Gid: f.gid,
		ModTime: time.Unix(f.seconds, int64(f.nanoseconds)), Devmajor: f.devmajor, Devminor: f.devminor,
		PAXRecords: f.records, Format: tar.FormatPAX,
	}
}

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

// reader reads layers.
type reader struct {
	limits
	common map[traits]*attributes // of files without PAX records and links
}

// changes reads what a layer does. Entries that put a file somewhere are among it unless
// they are given to add.
func (in *reader) changes(ctx context.Context, r io.Reader, layer int, add func(change) error) (*changes, error) {
	found, index := &changes{}, -1
	if add == nil {
		add = func(c change) error {
			found.added = append(found.added, c)
			return nil
		}
	}
	err := layertar.Each(ctx, r, func(h *tar.Header, _ io.Reader) error {
		index++
		if err := in.take(h); err != nil {
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
		f := in.file(h)
		f.layer, f.index = int32(layer), int32(index)
		return add(change{path, f})
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

// file returns what of a header is kept.
func (in *reader) file(h *tar.Header) *file {
	f := &file{name: checksum(h.Name)}
	h = layertar.Plain(h)
	f.size, f.seconds, f.nanoseconds = h.Size, h.ModTime.Unix(), int32(h.ModTime.Nanosecond())
	t := traits{typeflag: h.Typeflag, mode: h.Mode & 0o7777, uid: h.Uid, gid: h.Gid} // Old tars have the type in the mode too.
	switch h.Typeflag {
	case tar.TypeLink, tar.TypeSymlink:
		t.linkname = h.Linkname
	case tar.TypeChar, tar.TypeBlock:
		t.devmajor, t.devminor = h.Devmajor, h.Devminor
	}
	if len(h.PAXRecords) > 0 || t.linkname != "" {
		f.attributes = &attributes{t, h.PAXRecords}
		return f
	}
	if in.common[t] == nil {
		in.common[t] = &attributes{traits: t}
	}
	f.attributes = in.common[t]
	return f
}

// checksum tells names apart, but for malice, which gains nothing by it.
func checksum(name string) uint32 { return crc32.ChecksumIEEE([]byte(name)) }
