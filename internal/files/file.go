package files

import (
	"archive/tar"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// File is a file as a layer has it. Several paths may lead to it: hard links. An image
// has a hundred thousand of them, so they are small: 48 bytes, as the runtime allocates them.
// A File is not changed once its layer has been read.
type File struct {
	*attributes
	more        *more // nil of most
	size        int64
	at          int64 // where its content is in the layer's tar; of a sparse file, see place
	seconds     int64 // of its time
	nanoseconds int32
	index       int32 // which entry of the layer it is
}

// attributes are what many files of a layer have in common.
type attributes struct {
	layer              int32
	typeflag           byte
	sparse             bool
	mode               int64
	uid, gid           int
	devmajor, devminor int64
}

// more is what few files have.
type more struct {
	linkname string
	records  map[string]string // PAX records but for those that other fields say
	nth      int32             // of a sparse file, see place
}

// Type is the type of the file as archive/tar has it: TypeReg, TypeDir, TypeSymlink,
// TypeChar, TypeBlock or TypeFifo, and TypeLink for a hard link in a layer on its own
// whose target is in none of its entries.
func (f *File) Type() byte { return f.typeflag }

// IsDir reports whether it is a directory.
func (f *File) IsDir() bool { return f.typeflag == tar.TypeDir }

// isOverlayWhiteout reports whether it is what overlayfs has for a whiteout: the character
// device 0:0. Unpacked into a layer's directory, it takes away what is below.
func (f *File) isOverlayWhiteout() bool {
	return f.typeflag == tar.TypeChar && f.devmajor == 0 && f.devminor == 0
}

// IsRegular reports whether it has content.
func (f *File) IsRegular() bool { return f.typeflag == tar.TypeReg }

// Mode is its permissions, with setuid (04000), setgid (02000) and sticky (01000).
func (f *File) Mode() int64 { return f.mode }

// FileMode is its type and permissions as package fs has them.
func (f *File) FileMode() fs.FileMode {
	return (&tar.Header{Typeflag: f.typeflag, Mode: f.mode}).FileInfo().Mode()
}

// Owner returns the numbers of its user and group.
func (f *File) Owner() (uid, gid int) { return f.uid, f.gid }

// Device returns the numbers of a device.
func (f *File) Device() (major, minor int64) { return f.devmajor, f.devminor }

// Size is the size of its content in bytes, holes of a sparse file included.
func (f *File) Size() int64 { return f.size }

// ModTime is when it was changed.
func (f *File) ModTime() time.Time { return time.Unix(f.seconds, int64(f.nanoseconds)).UTC() }

// Linkname is the target of a link.
func (f *File) Linkname() string {
	if f.more == nil {
		return ""
	}
	return f.more.linkname
}

// nth is how many sparse files are before it where its headers are read from.
func (f *File) nth() int32 {
	if f.more == nil {
		return 0
	}
	return f.more.nth
}

// Layer is the index of the layer that it is from, -1 for a directory without an entry.
func (f *File) Layer() int { return int(f.layer) }

// xattrPrefix begins the PAX records that are extended attributes.
const xattrPrefix = "SCHILY.xattr."

// Xattrs returns its extended attributes, nil if there are none.
func (f *File) Xattrs() map[string]string {
	if f.more == nil {
		return nil
	}
	var found map[string]string
	for key, value := range f.more.records {
		if name, ok := strings.CutPrefix(key, xattrPrefix); ok {
			if found == nil {
				found = map[string]string{}
			}
			found[name] = value
		}
	}
	return found
}

// Header returns a header for writing the file under a name. The caller may change it.
func (f *File) Header(name string) *tar.Header {
	h := &tar.Header{
		Typeflag: f.typeflag, Name: name, Linkname: f.Linkname(), Size: f.size, Mode: f.mode, Uid: f.uid, Gid: f.gid,
		ModTime: time.Unix(f.seconds, int64(f.nanoseconds)), Devmajor: f.devmajor, Devminor: f.devminor, Format: tar.FormatPAX,
	}
	if f.more != nil {
		h.PAXRecords = maps.Clone(f.more.records)
	}
	return h
}

// implicit is a directory that no entry speaks of.
var implicit = &File{attributes: &attributes{layer: -1, typeflag: tar.TypeDir, mode: 0o755}}

// makers of Files share what many of them have in common.
type maker struct {
	layer int32
	same  map[attributes]*attributes
	seen  map[string]*more // by all that is in it
}

func newMaker(layer int) *maker {
	return &maker{int32(layer), map[attributes]*attributes{}, map[string]*more{}}
}

// file returns what of a header is kept.
func (m *maker) file(h *tar.Header, at place) *File {
	sparse := layertar.IsSparse(h)
	h = layertar.Plain(h)
	f := &File{
		size: h.Size, at: at.at, index: at.index,
		seconds: h.ModTime.Unix(), nanoseconds: int32(h.ModTime.Nanosecond()),
	}
	a := attributes{layer: m.layer, typeflag: h.Typeflag, sparse: sparse, mode: h.Mode & 0o7777, uid: h.Uid, gid: h.Gid} // Old tars have the type in the mode too.
	linkname := ""
	switch h.Typeflag {
	case tar.TypeLink, tar.TypeSymlink:
		linkname = h.Linkname
	case tar.TypeChar, tar.TypeBlock:
		a.devmajor, a.devminor = h.Devmajor, h.Devminor
	}
	if m.same[a] == nil {
		m.same[a] = &a
	}
	f.attributes = m.same[a]
	switch {
	case at.nth > 0:
		f.more = &more{linkname, h.PAXRecords, at.nth}
	case linkname != "" || len(h.PAXRecords) > 0:
		f.more = m.share(linkname, h.PAXRecords)
	}
	return f
}

func (m *maker) share(linkname string, records map[string]string) *more {
	if len(records) == 0 {
		return &more{linkname: strings.Clone(linkname)}
	}
	var key strings.Builder
	key.WriteString(linkname)
	for _, name := range slices.Sorted(maps.Keys(records)) {
		key.WriteString("\x00" + name + "\x00" + records[name])
	}
	if m.seen[key.String()] == nil {
		m.seen[key.String()] = &more{linkname: strings.Clone(linkname), records: records}
	}
	return m.seen[key.String()]
}

// Inode is a number of the file in its tree, the same for all hard links to it. It is 0
// of a directory without an entry.
func (f *File) Inode() uint64 { return uint64(f.layer+1)<<32 | uint64(uint32(f.index)) }
