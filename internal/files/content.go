package files

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/inflate"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// maxTemporary is how large the temporary file may become that a layer is unpacked to.
const maxTemporary = 64 << 30

// content is a layer's tar for reading anywhere in it.
type content struct {
	mutex     sync.Mutex
	at        io.ReaderAt
	index     index
	temporary *temporary
}

// index is where a layer's stream can be entered, for reading its data anywhere.
type index interface {
	io.ReaderAt
	io.Closer
}

// collect returns a function that decompresses the layer and keeps its restart points.
func (c *content) collect(s *stored) func(io.Reader) (io.ReadCloser, error) {
	c.index = nil
	if s.algorithm == compression.Zstd {
		if f := findFrames(s.at, s.size); f != nil {
			c.index = f
			return f.decompress
		}
	}
	if s.algorithm != compression.Gzip {
		return s.decompress
	}
	index := inflate.NewIndex(s.at, s.size)
	return func(r io.Reader) (io.ReadCloser, error) {
		stream, err := index.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("decompressing gzip: %w", err)
		}
		c.index = index
		return stream, nil
	}
}

// random returns the layer's tar for reading anywhere. A gzip layer whose restart points
// were not kept, and one of another compression, is unpacked to a temporary file.
func (l *lazy) random(ctx context.Context) (io.ReaderAt, error) {
	c := &l.content
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.at != nil {
		return c.at, nil
	}
	if l.algorithm == compression.None {
		c.at = l.at
		return c.at, nil
	}
	if f, ok := c.index.(*frames); ok && !f.near() {
		c.index = nil
	}
	if c.index != nil {
		c.at = c.index
		return c.at, nil
	}
	stream, err := l.unpack(ctx, !l.verified, l.decompress)
	if err != nil {
		return nil, err
	}
	defer stream.Close() //nolint:errcheck // It was only read.
	file, err := newTemporary(l.tempDir)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(file, stream); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	c.temporary, c.at = file, file
	return c.at, nil
}

// temporary is a file without a name that a layer is unpacked to.
type temporary struct {
	*local.File
	n int64
}

func newTemporary(dir string) (*temporary, error) {
	file, err := spool.Create(spool.Dir(dir))
	if err != nil {
		return nil, err
	}
	return &temporary{File: file}, nil
}

// Write implements io.Writer.
func (t *temporary) Write(p []byte) (int, error) {
	if t.n += int64(len(p)); t.n > maxTemporary {
		return 0, fmt.Errorf("it unpacks to more than %d GiB, which a temporary file may take: %w", int64(maxTemporary)>>30, errdef.ErrLimit)
	}
	return t.File.Write(p)
}

// keep has what is read of a layer kept for reading anywhere, if it cannot be entered
// anywhere else. It is kept for good once kept is called.
func (c *content) keep(stream io.Reader, dir string) (r io.Reader, kept func(error) error, err error) {
	if c.index != nil {
		return stream, func(err error) error { return err }, nil
	}
	file, err := newTemporary(dir)
	if err != nil {
		return nil, nil, err
	}
	return io.TeeReader(stream, file), func(err error) error {
		if err != nil {
			return errors.Join(err, file.Close())
		}
		c.temporary, c.at = file, file
		return nil
	}, nil
}

func (c *content) close() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	var err error
	if c.index != nil {
		err = c.index.Close()
	}
	if c.temporary != nil {
		err = c.temporary.Close()
	}
	c.at, c.index, c.temporary = nil, nil, nil
	return err
}

// ReaderAt returns the content of a regular file of the tree, for reading anywhere and
// concurrently. Nothing that it reads is verified: the layer was, when it was read as a
// whole, unless it is not compressed. Reading ends when ctx does.
func (t *Tree) ReaderAt(ctx context.Context, f *File) (io.ReaderAt, error) {
	if !f.IsRegular() {
		return nil, fmt.Errorf("only regular files have content: %w", errors.ErrUnsupported)
	}
	l := t.layers[f.layer]
	at, err := l.random(ctx)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", l.Name, err)
	}
	if f.sparse {
		return &sparseFile{ctx: ctx, tar: at, size: l.unpacked, file: f}, nil
	}
	return io.NewSectionReader(readerAt{ctx, at}, f.at, f.size), nil
}

// readerAt fails once its context has ended.
type readerAt struct {
	ctx context.Context
	r   io.ReaderAt
}

// ReadAt implements io.ReaderAt.
func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.ReadAt(p, off)
}

// sparseFile is a file with holes. It is read from its start, and again for any place
// before the last one read.
type sparseFile struct {
	ctx  context.Context
	tar  io.ReaderAt
	size int64
	file *File

	mutex sync.Mutex
	r     *tar.Reader
	off   int64
}

// ReadAt implements io.ReaderAt.
func (s *sparseFile) ReadAt(p []byte, off int64) (int, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	if off >= s.file.size {
		return 0, io.EOF
	}
	if s.r == nil || off < s.off {
		if err := s.start(); err != nil {
			return 0, err
		}
	}
	r := async.WithContext(s.ctx, s.r)
	for s.off < off {
		n, err := io.CopyN(io.Discard, r, off-s.off)
		s.off += n
		if err != nil {
			return 0, unexpected(err)
		}
	}
	n, err := io.ReadFull(r, p[:min(int64(len(p)), s.file.size-off)])
	s.off += int64(n)
	if err == nil && n < len(p) {
		err = io.EOF
	} else if err != nil {
		err = unexpected(err)
	}
	return n, err
}

func (s *sparseFile) start() error {
	s.r, s.off = tar.NewReader(io.NewSectionReader(s.tar, s.file.at, s.size-s.file.at)), 0
	for range s.file.nth() + 1 {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if _, err := s.r.Next(); err != nil {
			s.r = nil
			return unexpected(err)
		}
	}
	return nil
}

// unexpected is for a stream that was longer when it was read before.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
