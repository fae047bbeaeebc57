package archive

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"time"
	"unicode/utf8"

	"github.com/dockerarchive/dockerarchive/internal/files"
)

// FS is the files of an image, or of a layer, as a file system: an fs.FS with
// fs.ReadDirFS, fs.StatFS and fs.ReadLinkFS. Its methods may be called concurrently.
//
// Symbolic links are followed with the root of the image as "/", and never on this
// machine. Regular files are opened as io.Reader, io.Seeker and io.ReaderAt. Devices and
// FIFOs are listed, and opening one is an errors.ErrUnsupported. A name that is not UTF-8,
// which fs.ValidPath refuses, is absent with all that is below it; Hidden counts them.
//
// FileInfo.Sys returns a *FileSys.
type FS struct {
	ctx  context.Context
	tree *files.Tree
}

// FileSys is what package fs has no fields for.
type FileSys struct {
	// UID and GID are the numbers of the owner, in the image.
	UID, GID int
	// Xattrs are the extended attributes, nil if there are none.
	Xattrs map[string]string
	// Devmajor and Devminor are the numbers of a device.
	Devmajor, Devminor int64
	// Linkname is the target of a symbolic link. In an FS of one layer, it is also that of
	// a hard link to a file that the layer does not have.
	Linkname string
	// Layer is the index of the layer that the file is from, the lowest being 0; -1 for a
	// directory without an entry in any layer.
	Layer int
	// Inode is the same for all hard links to a file, and for nothing else. It is 0 for a
	// directory without an entry.
	Inode uint64
}

var (
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.StatFS     = (*FS)(nil)
	_ fs.ReadLinkFS = (*FS)(nil)
)

// lookup finds a name of package fs.
func (f *FS) lookup(op, name string, follow bool) (*files.Entry, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	path := name
	if name == "." {
		path = ""
	}
	find := f.tree.LookupLink
	if follow {
		find = f.tree.Lookup
	}
	e, err := find(f.ctx, path)
	if err == nil && !utf8.ValidString(e.Path) {
		err = fs.ErrNotExist // A link leads to what has no name here.
	}
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fs.ErrNotExist
		}
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return e, nil
}

// Open implements fs.FS. Symbolic links are followed.
func (f *FS) Open(name string) (fs.File, error) {
	e, err := f.lookup("open", name, true)
	if err != nil {
		return nil, err
	}
	info := newInfo(e, base(name))
	if e.IsDir() {
		children, err := f.children(e)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return &openDir{info: info, name: name, children: children}, nil
	}
	content, err := f.tree.ReaderAt(f.ctx, e.File)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &openFile{io.NewSectionReader(content, 0, e.Size()), info, name, false}, nil
}

// ReadDir implements fs.ReadDirFS.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := f.lookup("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if !e.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	children, err := f.children(e)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return children, nil
}

// children returns what is in a directory and has a name.
func (f *FS) children(e *files.Entry) ([]fs.DirEntry, error) {
	all, err := f.tree.Children(f.ctx, e)
	if err != nil {
		return nil, err
	}
	children := make([]fs.DirEntry, 0, len(all))
	for _, child := range all {
		if name := child.Name(); utf8.ValidString(name) {
			children = append(children, fs.FileInfoToDirEntry(newInfo(child, name)))
		}
	}
	return children, nil
}

// Stat implements fs.StatFS. Symbolic links are followed.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	e, err := f.lookup("stat", name, true)
	if err != nil {
		return nil, err
	}
	return newInfo(e, base(name)), nil
}

// Lstat implements fs.ReadLinkFS.
func (f *FS) Lstat(name string) (fs.FileInfo, error) {
	e, err := f.lookup("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return newInfo(e, base(name)), nil
}

// ReadLink implements fs.ReadLinkFS. The target is as the image has it: it may be
// absolute, and means a path of the image then.
func (f *FS) ReadLink(name string) (string, error) {
	e, err := f.lookup("readlink", name, false)
	if err != nil {
		return "", err
	}
	if e.Type() != tar.TypeSymlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return e.Linkname(), nil
}

// Hidden counts the files that are absent as their names are not UTF-8. All layers are
// read.
func (f *FS) Hidden() (int, error) {
	root, err := f.tree.Root(f.ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for e, err := range f.tree.Walk(f.ctx, root) {
		if err != nil {
			return 0, err
		}
		if !utf8.ValidString(e.Path) {
			n++
		}
	}
	return n, nil
}

// base returns the last element of a name of package fs.
func base(name string) string {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			return name[i+1:]
		}
	}
	return name
}

// info is what is known of a file.
type info struct {
	*files.File
	name string
}

func newInfo(e *files.Entry, name string) *info { return &info{e.File, name} }

// Name implements fs.FileInfo.
func (i *info) Name() string { return i.name }

// Mode implements fs.FileInfo.
func (i *info) Mode() fs.FileMode { return i.FileMode() }

// Size implements fs.FileInfo.
func (i *info) Size() int64 { return i.File.Size() }

// ModTime implements fs.FileInfo.
func (i *info) ModTime() time.Time { return i.File.ModTime() }

// Sys implements fs.FileInfo.
func (i *info) Sys() any {
	s := &FileSys{Xattrs: i.Xattrs(), Linkname: i.Linkname(), Layer: i.Layer(), Inode: i.Inode()}
	s.UID, s.GID = i.Owner()
	s.Devmajor, s.Devminor = i.Device()
	return s
}

// openFile is a regular file that is read.
type openFile struct {
	*io.SectionReader
	info   *info
	name   string
	closed bool
}

// Stat implements fs.File.
func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }

// Read implements io.Reader.
func (f *openFile) Read(p []byte) (int, error) {
	if f.closed {
		return 0, f.fail("read", fs.ErrClosed)
	}
	n, err := f.SectionReader.Read(p)
	return n, f.fail("read", err)
}

// ReadAt implements io.ReaderAt.
func (f *openFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.SectionReader.ReadAt(p, off)
	return n, f.fail("read", err)
}

func (f *openFile) fail(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

// Close implements fs.File.
func (f *openFile) Close() error {
	f.closed = true
	return nil
}

// openDir is a directory that is read.
type openDir struct {
	info     *info
	name     string
	children []fs.DirEntry
}

// Stat implements fs.File.
func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }

// Read implements fs.File.
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errors.New("is a directory")}
}

// Close implements fs.File.
func (d *openDir) Close() error { return nil }

// ReadDir implements fs.ReadDirFile.
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(d.children) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.children) {
		n = len(d.children)
	}
	some := d.children[:n:n]
	d.children = d.children[n:]
	return some, nil
}
