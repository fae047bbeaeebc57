package compose

import (
	"context"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
	"github.com/dockerarchive/dockerarchive/internal/packing"
)

// Errors of packing, to be found with errors.Is. They name the file.
var (
	// ErrChanged means that a file was not the same after it was read as before.
	ErrChanged = packing.ErrChanged
	// ErrReserved means that a file has the name of a whiteout. In a layer it would take
	// another file away.
	ErrReserved = packing.ErrReserved
)

// Part is a part of a layer that is packed, or as Content all of it. The same files make the
// same bytes; the order in which the file system lists them, the user, the umask and the time
// zone do not matter: entries are sorted, users and groups are numbers only, times are whole
// seconds. Symbolic links in a directory are never followed.
type Part struct {
	name  string
	meets bool // it may have a path twice, or remove what it has
	add   func(ctx context.Context, w *packing.Writer) error
}

// Name implements Content.
func (p Part) Name() string { return p.name }

// Open implements Content. A DiffBase is to an empty base.
func (p Part) Open(ctx context.Context) (io.ReadCloser, error) { return p.openOn(ctx, nil) }

func (p Part) openOn(ctx context.Context, lower *files.Tree) (io.ReadCloser, error) {
	return packed{p.name, []Part{p}}.openOn(ctx, lower)
}

// Pack returns a layer of several parts. They follow each other as if each were a layer upon
// those before: where two have the same path, the later wins, and Whiteouts take away what parts
// before have put there. The layer has no path twice; directories are walked twice for that.
func Pack(name string, parts ...Part) Content { return packed{name, parts} }

type packed struct {
	name  string
	parts []Part
}

// Name implements Content.
func (p packed) Name() string { return p.name }

// Open implements Content.
func (p packed) Open(ctx context.Context) (io.ReadCloser, error) { return p.openOn(ctx, nil) }

func (p packed) openOn(ctx context.Context, lower *files.Tree) (io.ReadCloser, error) {
	return piped(ctx, func(ctx context.Context, w io.Writer) error {
		layer := packing.NewWriter(ctx, w)
		layer.Lower = lower
		add := func() error {
			for _, part := range p.parts {
				if err := part.add(ctx, layer); err != nil {
					return err
				}
			}
			return nil
		}
		if len(p.parts) > 1 || slices.ContainsFunc(p.parts, func(p Part) bool { return p.meets }) {
			if err := layer.Plan(add); err != nil {
				return err
			}
		}
		if err := add(); err != nil {
			return err
		}
		return layer.Close()
	}), nil
}

// PackOptions say how a directory is packed.
type PackOptions struct {
	// Rewriting is done to each file.
	Rewriting
	// Prefix is where in the image the contents of the directory go; "" is its root. Links
	// in it are followed in the layers below.
	Prefix string
	// Follow has Dir pack a directory as COPY of a Dockerfile does. Links of the layers below
	// are followed for its contents too: if those have lib -> usr/lib, the contents of lib go
	// to usr/lib. A directory replaces no other file, nor another file a directory. There is a
	// directory under Prefix even if there is nothing to put into it.
	Follow bool
	// Exactly has DiskFile put the file under Prefix itself: a link is replaced, a directory is
	// an error.
	Exactly bool
	// NewOwner, a user and a group, owns directories above that the layers below do not have.
	NewOwner [2]int
	// Root adds an entry for the directory itself, under Prefix.
	Root bool
	// Exclude leaves files out: patterns as in .dockerignore, of paths in the directory.
	Exclude []string
	// Skipped, unless nil, is told the path of every socket. No layer can have one.
	Skipped func(path string)
}

func (o PackOptions) packing() packing.Options {
	return packing.Options{
		Rewriting: layertar.Rewriting(o.Rewriting), Prefix: o.Prefix, Follow: o.Follow, Exactly: o.Exactly, NewOwner: o.NewOwner, Root: o.Root, Exclude: o.Exclude, Skipped: o.Skipped,
	}
}

// Dir returns the contents of a directory of this machine: files with their hard links,
// devices, FIFOs, and the extended attributes security.capability and user.*. Holes of
// sparse files become zeros. A file that changes while it is read is an ErrChanged, one
// named as a whiteout an ErrReserved.
func Dir(path string, o PackOptions) Part {
	return Part{name: path, meets: o.Follow, add: func(_ context.Context, w *packing.Writer) error { return w.Dir(path, o.packing()) }}
}

// DiskFile returns one file of this machine, of any kind but a directory. Its path in the image
// is PackOptions.Prefix. If that is a directory in the layers below, the file goes into it; if
// it is a link there, the link is followed.
func DiskFile(path string, o PackOptions) Part {
	return Part{name: path, add: func(_ context.Context, w *packing.Writer) error { return w.File(path, o.packing()) }}
}

// FS returns the contents of a file system. Files belong to 0:0 and have no hard links,
// unless it is one of the machine's, such as os.DirFS. name is what errors call it.
func FS(name string, files fs.FS, o PackOptions) Part {
	return Part{name: name, add: func(_ context.Context, w *packing.Writer) error { return w.FS(files, o.packing()) }}
}

// DiffDir returns the changes that turn one directory of this machine into another: files that
// are new or differ in content or metadata, and whiteouts for those that are gone.
func DiffDir(old, path string, o PackOptions) Part {
	return Part{name: path, add: func(_ context.Context, w *packing.Writer) error { return w.DirDiff(old, path, o.packing()) }}
}

// DiffBase returns the changes that turn the files of the layers below into a directory of this
// machine, as DiffDir does. Those layers are read for it.
func DiffBase(path string, o PackOptions) Part {
	return Part{name: path, add: func(_ context.Context, w *packing.Writer) error { return w.Diff(path, o.packing()) }}
}

// Whiteouts takes away what lower layers have under paths. The root, or a path that leads out
// of it, is an error. A link on the way is followed; one at the end is taken away itself.
func Whiteouts(paths ...string) Part {
	return Part{name: "of whiteouts", meets: len(paths) > 1, add: func(_ context.Context, w *packing.Writer) error { return w.Whiteouts(paths) }}
}

// Opaque takes away all that lower layers have in directories.
func Opaque(dirs ...string) Part {
	return Part{name: "of opaque directories", meets: len(dirs) > 1, add: func(_ context.Context, w *packing.Writer) error { return w.Opaque(dirs) }}
}

// File is a regular file in memory, which belongs to 0:0 and has the mode 0644.
type File struct {
	Path    string // in the image
	Content []byte
}

// Files returns files from memory, sorted by their paths. No path may be there twice. All have
// the same time, cut to seconds; the zero time is the start of Unix time.
func Files(modTime time.Time, files ...File) Part {
	return Part{name: "of files in memory", add: func(_ context.Context, w *packing.Writer) error {
		var all []packing.File
		for _, f := range files {
			all = append(all, packing.File(f))
		}
		if modTime.IsZero() {
			modTime = time.Unix(0, 0)
		}
		return w.Files(all, modTime)
	}}
}
