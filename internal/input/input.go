// Package input opens files for random access, from anywhere: a file, a device, a pipe,
// compressed or not, the directory of an OCI image layout. It knows nothing of their
// contents.
package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/naming"
)

// Stdin is the path that stands for the standard input, along with /dev/stdin.
const Stdin = "-"

// Options are how to open a file that cannot be read at random in place.
type Options struct {
	// TempDir is where it is copied to; "" is the system's directory for large
	// temporary files.
	TempDir string
	// Looks, if not nil, is called with the first LooksLen bytes, uncompressed, or
	// all that there are, before anything is written: an error of it is returned, so
	// that useless data does not fill a disk.
	Looks func(prefix []byte) error
	// Access is how something that is elsewhere is reached.
	Access Access
}

// LooksLen is how many bytes Options.Looks is given: a tar header.
const LooksLen = 512

// File is an uncompressed file for random access. It may be read concurrently.
type File struct {
	*io.SectionReader
	// Copied is set if it is a temporary file.
	Copied bool
	close  func() error
	parts  *joined // nil if it is not in parts
}

// Close frees what the file takes on disk, if it is a temporary one.
func (f *File) Close() error { return f.close() }

// Open opens the file at path. For a file in parts (PATH.000, PATH.001 and so on), path
// is any part, or the directory with the parts of this one; all must be there, and are
// read where they are. The error names faults of parts that are seen without reading
// them from start to end: see CheckParts. If the file is a stream, or compressed, it is
// first copied, uncompressed, to a temporary file without a name, unless it is too large
// (ErrTooLarge) or does not look right (Options). When ctx ends, Open returns, with its
// cause, even while nothing comes from the stream.
func Open(ctx context.Context, path string, o Options) (*File, error) {
	file, err := interruptible(ctx, func() (*File, error) { return open(ctx, path, o) })
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return file, err
}

// FromReader reads r to its end, and copies it like Open. It does not close r.
// When ctx ends while r hangs, r is in use until it returns.
func FromReader(ctx context.Context, r io.Reader, o Options) (*File, error) {
	return spooled(ctx, r, o)
}

// FromReaderAt opens the size bytes that r holds: as they are, or if they are
// compressed, copied like Open does. The caller keeps r usable until the File is
// closed, which does not close r. When ctx ends while r hangs, r is in use until it
// returns.
func FromReaderAt(ctx context.Context, r io.ReaderAt, size int64, o Options) (*File, error) {
	return interruptible(ctx, func() (*File, error) {
		section := io.NewSectionReader(r, 0, size)
		compressed, err := isCompressed(section)
		if err != nil {
			return nil, err
		}
		if !compressed {
			return &File{SectionReader: section, close: func() error { return nil }}, nil
		}
		return spooled(ctx, section, o)
	})
}

// interruptible returns when ctx ends, although not everything that opens a file can be
// interrupted: an open that hangs is left behind, and closes its file when it returns.
func interruptible(ctx context.Context, open func() (*File, error)) (*File, error) {
	type result struct {
		file *File
		err  error
	}
	opened := make(chan result)
	go func() {
		file, err := open()
		select {
		case opened <- result{file, err}:
		case <-ctx.Done():
			if file != nil {
				_ = file.Close() // It was only read.
			}
		}
	}()
	select {
	case r := <-opened:
		return r.file, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func open(ctx context.Context, path string, o Options) (*File, error) {
	if scheme, ok := naming.Scheme(path); ok {
		return openRemote(ctx, scheme, path, o)
	}
	if file, err := openParts(path); file != nil || err != nil {
		return file, err
	}
	f, closeFile := os.Stdin, func() error { return nil }
	if path == Stdin || path == "/dev/stdin" {
		path = "standard input"
	} else {
		var err error
		if f, err = openFile(ctx, path); err != nil {
			return nil, err
		}
		closeFile = f.Close
		if info, err := f.Stat(); err == nil && info.IsDir() {
			_ = f.Close() // It was not read.
			file, err := openDirectory(ctx, path)
			if err != nil {
				err = fmt.Errorf("reading %s: %w", path, err)
			}
			return file, err
		}
	}
	file, err := fromFile(ctx, f, closeFile, o)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, errors.Join(err, closeFile()))
	}
	return file, nil
}

// fromFile returns f itself, if it can be read at random and is not compressed, or a
// copy. On success it owns f.
func fromFile(ctx context.Context, f *os.File, closeFile func() error, o Options) (*File, error) {
	section, err := randomAccess(f)
	if err != nil {
		return nil, err
	}
	stream := io.Reader(f)
	if section != nil {
		compressed, err := isCompressed(section)
		if err != nil {
			return nil, err
		}
		if !compressed {
			return &File{SectionReader: section, close: closeFile}, nil
		}
		stream = section
	}
	file, err := spooled(ctx, stream, o)
	if err != nil {
		return nil, err
	}
	if err := closeFile(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func isCompressed(section *io.SectionReader) (bool, error) {
	prefix := make([]byte, compression.PrefixLen)
	n, err := section.ReadAt(prefix, 0)
	if err != nil && err != io.EOF {
		return false, err
	}
	return compression.Detect(prefix[:n]) != compression.None, nil
}

// randomAccess returns what is left of f for random access, or nil if f is a
// stream.
func randomAccess(f *os.File) (*io.SectionReader, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	mode := info.Mode()
	if mode.IsDir() {
		return nil, errIsDirectory
	}
	if !mode.IsRegular() && (mode&fs.ModeDevice == 0 || mode&fs.ModeCharDevice != 0) {
		return nil, nil
	}
	// The standard input may have been read from before.
	start, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	end, err := f.Seek(0, io.SeekEnd) // Stat knows no size of a block device.
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(start, io.SeekStart); err != nil {
		return nil, err
	}
	return io.NewSectionReader(f, start, max(end-start, 0)), nil
}
