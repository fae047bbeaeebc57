// Package input opens what is to be read at random although it may come from
// anywhere: a file, a device, a pipe, compressed or not. It knows nothing of
// what is in it.
package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// Stdin is the path that stands for the standard input, along with /dev/stdin.
const Stdin = "-"

// File is an uncompressed file for random access. It may be read concurrently.
type File struct {
	*io.SectionReader
	close func() error
}

// Close frees what the file takes on disk, if it is a temporary one.
func (f *File) Close() error { return f.close() }

// Open opens the file at path. If it is a stream, or compressed, it is first
// copied, uncompressed, to a temporary file without a name in tempDir. When ctx
// ends, Open returns, even while nothing comes from the stream.
func Open(ctx context.Context, path, tempDir string) (*File, error) {
	// Opening a pipe waits until it has a writer, which nothing can interrupt.
	// What is left behind here ends when that comes.
	type result struct {
		file *File
		err  error
	}
	opened := make(chan result)
	go func() {
		file, err := open(ctx, path, tempDir)
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
		return nil, fmt.Errorf("opening %s: %w", path, ctx.Err())
	}
}

func open(ctx context.Context, path, tempDir string) (*File, error) {
	f, closeFile := os.Stdin, func() error { return nil }
	if path == Stdin || path == "/dev/stdin" {
		path = "standard input"
	} else {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, err
		}
		closeFile = f.Close
	}
	file, err := fromFile(ctx, f, closeFile, tempDir)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, errors.Join(err, closeFile()))
	}
	return file, nil
}

// fromFile returns f itself, if it can be read at random and is not compressed,
// or what can be read from it. On success it owns f.
func fromFile(ctx context.Context, f *os.File, closeFile func() error, tempDir string) (*File, error) {
	section, err := randomAccess(f)
	if err != nil {
		return nil, err
	}
	stream := io.Reader(f)
	if section != nil {
		prefix := make([]byte, compression.PrefixLen)
		n, err := section.ReadAt(prefix, 0)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if compression.Detect(prefix[:n]) == compression.None {
			return &File{SectionReader: section, close: closeFile}, nil
		}
		stream = section
	}
	temp, err := spool.Create(spool.Dir(tempDir))
	if err != nil {
		return nil, err
	}
	size, err := copyUncompressed(ctx, temp, stream)
	if err == nil {
		err = closeFile()
	}
	if err != nil {
		return nil, errors.Join(err, temp.Close())
	}
	return &File{SectionReader: io.NewSectionReader(temp, 0, size), close: temp.Close}, nil
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
		return nil, errors.New("is a directory")
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

// copyUncompressed copies the stream to temp and returns its uncompressed size.
func copyUncompressed(ctx context.Context, temp io.Writer, stream io.Reader) (int64, error) {
	ahead := async.NewReader(ctx, stream) // Ends with ctx even if the stream hangs.
	defer ahead.Close()
	prefix, err := ahead.Peek(compression.PrefixLen)
	if err != nil {
		return 0, err
	}
	decompressed, err := compression.NewReader(ahead, compression.Detect(prefix))
	if err != nil {
		return 0, err
	}
	behind := async.NewWriter(temp)
	size, err := io.Copy(behind, decompressed)
	return size, errors.Join(err, behind.Close(), decompressed.Close())
}
