// Package packing makes the tar of a layer from directories, differences of directories,
// whiteouts and files in memory. It streams: it holds only the names in the directories from
// the root to the file that is being packed, and the header of each file that has hard links.
//
// The same files make the same bytes, for any order in which the file system lists them, any
// user, umask and time zone. Entries are sorted as layertar.Compare does; users and groups
// are numbers only; times are whole seconds, as docker and podman have them; access and
// change times are left out. It takes the extended attributes security.capability and user.*
// (except user.overlay.*), as others belong to the machine, or are not visible to all users.
// Holes of sparse files are written as the zeros they read as. Form and names are those of
// layertar.Writer.
//
// Symbolic links are never followed, and nothing outside of a directory is read, even
// if somebody changes it meanwhile. A file that changes while it is read is an
// ErrChanged that names it.
package packing

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// ErrChanged means that a file was not the same after it was read as before.
var ErrChanged = errors.New("changed while it was read")

// ErrReserved means that a file in a directory is named as whiteouts are. In a layer
// it would take another file away.
var ErrReserved = errors.New("names that begin with .wh. are whiteouts in a layer")

// Writer writes one layer, of one or several parts: they follow each other as they are added.
// If two have the same path, clients that unpack the layer get the later one. A Writer must
// not be used concurrently, nor after an error.
type Writer struct {
	// Lower, unless nil, is the tree below the layer. The places of parts are looked up there,
	// and directories above them get their entries from it: without these, podman and docker
	// give a directory the mode 0755 and the owner 0:0, even if it has others below. Only the
	// needed parts of the tree are read.
	Lower *files.Tree

	ctx      context.Context
	out      *layertar.Writer
	upper    *upper          // the layer's files so far
	plan     *upper          // its files in the end, nil if nobody has asked
	planning bool            // that is being found out
	marked   map[string]bool // markers that are written
	newOwner [2]int          // of directories above the part that are new
}

// NewWriter returns a Writer to w. When ctx ends, so does every method, with its
// error.
func NewWriter(ctx context.Context, w io.Writer) *Writer {
	return &Writer{ctx: ctx, out: layertar.NewWriter(ctx, w), upper: newUpper(false), marked: map[string]bool{}}
}

// Close writes the end of the tar. It does not close the underlying writer.
func (w *Writer) Close() error {
	if err := w.followed(); err != nil {
		return err
	}
	return w.out.Close()
}

// Whiteouts adds entries that remove the files that lower layers have under the paths, links
// on the way followed. The paths are sorted and need not be clean; that of the root, and one
// that leads out of it, are errors. Files that earlier parts have put there are removed too,
// if there is a Plan.
func (w *Writer) Whiteouts(paths []string) error {
	return w.each(paths, func(path string) error {
		if path == "" {
			return errors.New("the root cannot be removed")
		}
		at, ok, err := w.removable(path)
		if err != nil || !ok {
			return err
		}
		return w.remove(at)
	})
}

// Opaque adds entries that take away all that lower layers have in directories. The
// paths are treated as those of Whiteouts; the root is a directory like others.
func (w *Writer) Opaque(dirs []string) error { return w.each(dirs, w.empty) }

// each takes something away under each path.
func (w *Writer) each(paths []string, take func(path string) error) error {
	w.newOwner = [2]int{}
	clean := make([]string, len(paths))
	for i, p := range paths {
		var err error
		if clean[i], err = layertar.Clean(p); err != nil {
			return fmt.Errorf("remove %q: %w", p, err)
		}
	}
	slices.SortFunc(clean, layertar.Compare)
	for _, p := range slices.Compact(clean) {
		if err := take(p); err != nil {
			return fmt.Errorf("remove %q: %w", p, err)
		}
	}
	return nil
}

// whiteout returns the name of the entry that takes a path away.
func whiteout(path string) string {
	dir, base := layertar.Split(path)
	return layertar.Join(dir, layertar.WhiteoutPrefix+base)
}

// File is a file from memory.
type File struct {
	// Path need not be clean, but must neither be the root nor lead out of it.
	Path    string
	Content []byte
}

// Files adds regular files, sorted by their paths, with the mode 0644 and the owner
// 0:0, all with the same time, cut to seconds. One path twice is an error.
func (w *Writer) Files(files []File, modTime time.Time) error {
	w.newOwner = [2]int{}
	sorted := slices.Clone(files)
	for i, f := range sorted {
		path, err := layertar.Clean(f.Path)
		if err == nil && (path == "" || strings.HasSuffix(f.Path, "/")) {
			err = errors.New("that is a directory")
		}
		if err != nil {
			return fmt.Errorf("add file %q: %w", f.Path, err)
		}
		sorted[i].Path = path
	}
	slices.SortFunc(sorted, func(a, b File) int { return layertar.Compare(a.Path, b.Path) })
	for i, f := range sorted {
		if i > 0 && sorted[i-1].Path == f.Path {
			return fmt.Errorf("add file %q: it is there twice", f.Path)
		}
		if reserved(f.Path) {
			return fmt.Errorf("add file %q: %w", f.Path, ErrReserved)
		}
		at, err := w.place(f.Path)
		if err != nil {
			return fmt.Errorf("add file %q: %w", f.Path, err)
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: at, Size: int64(len(f.Content)), Mode: 0o644, ModTime: modTime.Truncate(time.Second)}
		if err := w.write(h, bytes.NewReader(f.Content)); err != nil {
			return err
		}
	}
	return nil
}

// reserved reports whether an element of a path has the name of a whiteout.
func reserved(path string) bool {
	return strings.HasPrefix(path, layertar.WhiteoutPrefix) || strings.Contains(path, "/"+layertar.WhiteoutPrefix)
}

// writeEntry writes an entry, whose name is its path.
func (w *Writer) writeEntry(h *tar.Header, content io.Reader) error {
	path := h.Name
	if h.Typeflag == tar.TypeDir {
		h.Name = path + "/"
		if path == "" {
			h.Name = "./"
		}
	}
	err := w.out.Write(h, content)
	h.Name = path
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("read %q: it became shorter: %w", path, ErrChanged)
	}
	return err
}

// Options say how a directory is packed.
type Options struct {
	// Rewriting is done to each header.
	layertar.Rewriting
	// Prefix is where in the image the directory's contents go; "" is its root. It
	// need not be clean, but must not lead out of the root. Links in it are followed as
	// they are in Writer.Lower.
	Prefix string
	// Follow packs a directory as COPY of a Dockerfile does. The files of a directory go to the
	// target of a link with its path in Writer.Lower, and the link stays. A directory replaces
	// no other file, nor another file a directory. There is a directory under Prefix even if it
	// is empty.
	Follow bool
	// Exactly puts a file under Prefix itself, where a link is replaced and a directory is an
	// error. Else a directory gets the file under its own name, and a link is followed.
	Exactly bool
	// NewOwner, a user and a group, owns directories above that Lower does not have.
	NewOwner [2]int
	// Root adds an entry for the directory itself, under Prefix, before its contents.
	Root bool
	// Exclude leaves files out: patterns as in .dockerignore, of paths in the directory. A
	// directory that is left out has an entry all the same if a file in it is not ("!dir/file").
	Exclude []string
	// Skipped, unless nil, is told of every socket. No layer can have one.
	Skipped func(path string)
}

// Dir adds the contents of a directory on disk. The path may lead through symbolic
// links. Errors are of type *fs.PathError, or name the path in other ways.
func (w *Writer) Dir(path string, options Options) error {
	d, err := openDisk(path)
	if err != nil {
		return err
	}
	return w.pack(d, options, nil)
}

// File adds one file on disk, of any kind except a directory, under Options.Prefix. A
// symbolic link is not followed. Errors are as those of Dir.
func (w *Writer) File(path string, options Options) error {
	dir, name := filepath.Split(filepath.Clean(path))
	d, err := openDisk(filepath.Clean(dir))
	if err != nil {
		return err
	}
	defer d.close()
	p := &packer{writer: w, options: options, links: map[fileID]*tar.Header{}}
	return p.packOnly(d, name)
}

// FS adds the contents of a file system. Files belong to 0:0 and have no hard links,
// unless it is one of the machine's, such as os.DirFS. Symbolic links are read by
// fs.ReadLink, and are an error if the file system cannot.
func (w *Writer) FS(files fs.FS, options Options) error {
	return w.pack(&virtual{files: files, path: "."}, options, nil)
}
