package input

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
)

// layoutMarker is the file that makes a directory an OCI image layout.
const layoutMarker = "oci-layout"

const (
	tarBlock = 512
	tarEnd   = 2 * tarBlock
	// maxDirectoryEntries bounds what is kept in memory of a directory.
	maxDirectoryEntries = 1 << 20
)

var errIsDirectory = errors.New("is a directory")

// openDirectory opens an OCI image layout on disk as the tar of its regular files,
// in the order of their names, which is not made: only its headers are kept. Files
// are opened when they are read. Links are followed as long as they stay inside.
func openDirectory(ctx context.Context, path string) (*File, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	d := &directory{root: root}
	if err = d.add(ctx); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &File{SectionReader: io.NewSectionReader(d, 0, d.size), close: root.Close}, nil
}

// directory is an io.ReaderAt of the tar that a directory would make.
type directory struct {
	root  *os.Root
	parts []part // in order
	size  int64
}

// part is something in memory, or a file and what pads it.
type part struct {
	start, size int64
	data        []byte
	name        string // of a file
}

func (d *directory) add(ctx context.Context) error {
	if _, err := d.root.Stat(layoutMarker); err != nil {
		return errIsDirectory
	}
	n := 0
	err := fs.WalkDir(d.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if n++; err == nil && n > maxDirectoryEntries {
			err = fmt.Errorf("more than %d files", maxDirectoryEntries)
		}
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := d.root.Stat(name)
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		return d.addFile(name, info.Size())
	})
	d.append(part{size: tarEnd, data: make([]byte, tarEnd)})
	return err
}

func (d *directory) addFile(name string, size int64) error {
	var header bytes.Buffer
	err := tar.NewWriter(&header).WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o644, Typeflag: tar.TypeReg})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	d.append(part{size: int64(header.Len()), data: header.Bytes()})
	d.append(part{size: size, name: name})
	padding := -size & (tarBlock - 1)
	d.append(part{size: padding, data: make([]byte, padding)})
	return nil
}

func (d *directory) append(p part) {
	if p.size > 0 {
		p.start = d.size
		d.parts = append(d.parts, p)
		d.size += p.size
	}
}

// ReadAt implements io.ReaderAt.
func (d *directory) ReadAt(b []byte, offset int64) (n int, err error) {
	i := sort.Search(len(d.parts), func(i int) bool { return offset < d.parts[i].start+d.parts[i].size })
	for ; n < len(b) && i < len(d.parts); i++ {
		p := d.parts[i]
		within := offset + int64(n) - p.start
		want := b[n:min(int64(len(b)), int64(n)+p.size-within)]
		if p.data != nil {
			copy(want, p.data[within:])
		} else if err := d.readFile(p, want, within); err != nil {
			return n, err
		}
		n += len(want)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (d *directory) readFile(p part, b []byte, offset int64) error {
	f, err := d.root.Open(p.name)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // It was only read.
	if n, err := f.ReadAt(b, offset); err != nil && n < len(b) {
		if err == io.EOF {
			err = fmt.Errorf("%w: it has become shorter", io.ErrUnexpectedEOF)
		}
		return fmt.Errorf("reading %s: %w", p.name, err)
	}
	return nil
}
