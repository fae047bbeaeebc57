// Package unpacking puts the files of an image into a directory of this machine. No file
// gets out of that: every path is opened under one opened directory, by os.Root, and an
// existing link is never followed. The package knows files, and nothing of images.
package unpacking

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
	"github.com/dockerarchive/dockerarchive/internal/local"
)

// Result counts the files that were unpacked.
type Result struct {
	Files, Directories, Links, Devices int
	Bytes                              int64
	// NotKept counts the properties that this machine did not take, by their kind.
	NotKept map[NotKept]int
	// Examples has one path for each of NotKept.
	Examples map[NotKept]string
}

// NotKept is something of a file that was not kept.
type NotKept string

// Properties that may not be kept. Without root, no owner is, and no device.
const (
	Owner     NotKept = "owner"
	Device    NotKept = "device"
	Xattr     NotKept = "extended attribute"
	SetID     NotKept = "setuid or setgid bit"
	Timestamp NotKept = "time"
)

// unpacker puts files into a directory.
type unpacker struct {
	root   *os.Root
	from   string // the path in the image that becomes the root, and a slash
	single bool   // it is no directory: only the name is kept
	asRoot bool
	result Result
	dirs   []*files.Entry // their modes and times are set last
}

// Unpack puts an entry of a tree, and all that is below it, into a directory, which is
// made if it is not there. The content of a directory goes directly into that one; another
// file gets its name there. Files that are there already are replaced, and directories
// kept, with their content; a directory in the place of a file is an error. Each layer is
// verified by the end; after an error, the files unpacked so far stay.
func Unpack(ctx context.Context, tree *files.Tree, from *files.Entry, dir string) (*Result, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, &local.Error{Op: "making", Path: dir, Err: err}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, &local.Error{Op: "opening", Path: dir, Err: err}
	}
	defer root.Close() //nolint:errcheck // Nothing is written to the directory itself.
	u := &unpacker{root: root, single: !from.IsDir(), asRoot: os.Geteuid() == 0, result: Result{NotKept: map[NotKept]int{}, Examples: map[NotKept]string{}}}
	if from.IsDir() && from.Path != "" {
		u.from = from.Path + "/"
	}
	err = tree.Visit(ctx, from, u)
	if err == nil {
		err = u.finish(ctx)
	}
	return &u.result, err
}

// place returns the path under the root.
func (u *unpacker) place(path string) string {
	switch {
	case u.single:
		_, path = layertar.Split(path)
	case path+"/" == u.from || path == "":
		return "."
	}
	return filepath.FromSlash(strings.TrimPrefix(path, u.from))
}

// notKept notes a property of a file that is not kept.
func (u *unpacker) notKept(what NotKept, path string) {
	if u.result.NotKept[what]++; u.result.Examples[what] == "" {
		u.result.Examples[what] = path
	}
}

// fail says which operation failed on which file.
func fail(op, path string, err error) error {
	if err == nil {
		return nil
	}
	var in *fs.PathError
	if errors.As(err, &in) {
		err = in.Err
	}
	return &local.Error{Op: op, Path: "/" + path, Err: err}
}

// clear removes the file at a place, unless it is a directory: that is an error. A link is
// removed itself.
func (u *unpacker) clear(place, path string) error {
	info, err := u.root.Lstat(place)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fail("looking for", path, err)
	case info.IsDir():
		return fail("replacing", path, errors.New("there is a directory, which is not removed"))
	}
	return fail("replacing", path, u.root.Remove(place))
}

// Empty implements files.Visitor.
func (u *unpacker) Empty(e *files.Entry) error {
	place := u.place(e.Path)
	if e.IsDir() {
		return u.makeDir(place, e)
	}
	if e.IsRegular() {
		return u.Regular(e.Path, e.File, strings.NewReader(""))
	}
	if err := u.clear(place, e.Path); err != nil {
		return err
	}
	if e.Type() == tar.TypeSymlink {
		if err := u.root.Symlink(e.Linkname(), place); err != nil {
			return fail("linking", e.Path, err)
		}
		u.result.Links++
		return u.afterLink(place, e)
	}
	made, err := u.makeNode(place, e)
	if err != nil {
		return fail("making", e.Path, err)
	}
	if !made {
		u.notKept(Device, e.Path)
		return nil
	}
	u.result.Devices++
	return u.afterLink(place, e)
}

// makeDir makes a directory, which is writable until the end.
func (u *unpacker) makeDir(place string, e *files.Entry) error {
	u.dirs = append(u.dirs, e)
	u.result.Directories++
	if place == "." {
		return nil
	}
	info, err := u.root.Lstat(place)
	if err == nil && info.IsDir() {
		return u.makeWritable(place, e.Path, info)
	}
	if err := u.clear(place, e.Path); err != nil {
		return err
	}
	return fail("making", e.Path, u.root.Mkdir(place, 0o700))
}

func (u *unpacker) makeWritable(place, path string, info fs.FileInfo) error {
	if u.asRoot || info.Mode()&0o700 == 0o700 {
		return nil
	}
	return fail("opening", path, u.root.Chmod(place, info.Mode()|0o700))
}

// Regular implements files.Visitor.
func (u *unpacker) Regular(path string, f *files.File, content io.Reader) (err error) {
	place := u.place(path)
	if err := u.clear(place, path); err != nil {
		return err
	}
	out, err := u.root.OpenFile(place, os.O_WRONLY|os.O_CREATE|os.O_EXCL|noFollow, 0o600)
	if err != nil {
		return fail("making", path, err)
	}
	defer func() {
		if closed := out.Close(); err == nil {
			err = fail("writing", path, closed)
		}
	}()
	n, err := io.Copy(local.NewFile(out, "/"+path), content)
	if err != nil {
		return err
	}
	u.result.Files++
	u.result.Bytes += n
	return u.setAll(out, place, path, f)
}

// setAll sets owner, attributes, mode and time of an open file or directory.
func (u *unpacker) setAll(out *os.File, place, path string, f *files.File) error {
	mode := f.FileMode()
	switch uid, gid := f.Owner(); {
	case u.asRoot:
		if err := out.Chown(uid, gid); err != nil {
			if err := u.tolerate(Owner, path, "changing the owner of", err); err != nil {
				return err
			}
			mode &^= fs.ModeSetuid | fs.ModeSetgid
		}
	case uid != os.Geteuid() || gid != os.Getegid():
		u.notKept(Owner, path)
		if mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 { // It would be that of somebody else.
			u.notKept(SetID, path)
			mode &^= fs.ModeSetuid | fs.ModeSetgid
		}
	}
	if err := out.Chmod(mode & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)); err != nil {
		return fail("changing the mode of", path, err)
	}
	for name, value := range f.Xattrs() {
		if err := setXattr(out, name, value); err != nil {
			if err := u.tolerate(Xattr, path, "setting "+name+" of", err); err != nil {
				return err
			}
		}
	}
	if err := u.setTime(out, place, f.ModTime()); err != nil {
		u.notKept(Timestamp, path)
	}
	return nil
}

// tolerate counts operations that this machine may not do, or cannot; other errors are
// returned.
func (u *unpacker) tolerate(what NotKept, path, op string, err error) error {
	for _, no := range []error{fs.ErrPermission, errors.ErrUnsupported, syscall.EINVAL, syscall.ENOTSUP, syscall.ENOSYS, syscall.E2BIG, syscall.ERANGE, syscall.ENODATA} {
		if errors.Is(err, no) {
			u.notKept(what, path)
			return nil
		}
	}
	return fail(op, path, err)
}

// Link implements files.Visitor.
func (u *unpacker) Link(first string, e *files.Entry) error {
	place := u.place(e.Path)
	if err := u.clear(place, e.Path); err != nil {
		return err
	}
	from := u.place(first)
	if _, err := u.root.Lstat(from); errors.Is(err, fs.ErrNotExist) { // A device that could not be made.
		u.notKept(Device, e.Path)
		return nil
	}
	u.result.Links++
	return fail("linking", e.Path, u.root.Link(from, place))
}

// finish sets the modes and times of directories, the deepest first.
func (u *unpacker) finish(ctx context.Context) error {
	for i := len(u.dirs) - 1; i >= 0; i-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := u.dirs[i]
		place := u.place(e.Path)
		if e.Layer() < 0 && place == "." {
			continue // No layer has an entry for it.
		}
		dir, err := u.root.OpenFile(place, os.O_RDONLY|directoryOnly, 0)
		if err == nil {
			err = u.setAll(dir, place, e.Path, e.File)
			if closed := dir.Close(); err == nil && closed != nil {
				err = fail("closing", e.Path, closed)
			}
		} else {
			err = fail("opening", e.Path, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// String returns the counts of unpacked files.
func (r *Result) String() string {
	return fmt.Sprintf("%d files, %d directories, %d links, %d devices", r.Files, r.Directories, r.Links, r.Devices)
}
