package catalog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// Blob is a config or a layer as the manifest describes it.
type Blob struct {
	Digest digest.Digest
	Size   int64 // in bytes

	data []byte // its content, or
	file stored // where that is
}

// stored is a file of the archive, perhaps compressed by itself.
type stored struct {
	tarfile.Member
	files     *tarfile.Index
	algorithm compression.Algorithm // to be undone
}

// Open returns the content of the blob. Reading fails if it has another size
// than Size. A layer that is decompressed here is verified here: at its end,
// reading fails with an errdef.MismatchError. One that is stored as it is wanted is not:
// containers/image asks whoever wants it to verify it, and its copy pipeline
// does; to do it twice made copying a third more expensive.
func (b Blob) Open(ctx context.Context) (io.ReadCloser, error) {
	if b.data != nil {
		return io.NopCloser(bytes.NewReader(b.data)), nil
	}
	stream, err := b.file.open()
	if err != nil {
		return nil, err
	}
	c := &checker{stream: stream, name: b.file.Name, left: b.Size, want: b.Digest}
	if b.file.algorithm != compression.None {
		c.digester = b.Digest.Algorithm().Digester()
	}
	return &blobReader{Reader: async.NewReader(ctx, c), stream: stream}, nil
}

// blobReader decompresses and verifies while its user does something else.
type blobReader struct {
	*async.Reader
	stream    io.Closer
	closeOnce sync.Once
	closeErr  error
}

// Close implements io.Closer.
func (r *blobReader) Close() error {
	r.closeOnce.Do(func() {
		r.Reader.Close()
		r.closeErr = r.stream.Close()
	})
	return r.closeErr
}

// open returns the uncompressed content.
func (s stored) open() (io.ReadCloser, error) {
	stream, err := compression.NewReader(s.files.Open(s.Member), s.algorithm)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.Name, err)
	}
	return stream, nil
}

// checker fails at the end of a stream that is not what it should be.
type checker struct {
	stream   io.Reader
	name     string
	left     int64 // bytes
	want     digest.Digest
	digester digest.Digester // nil if others compute the digest
}

func (c *checker) Read(p []byte) (int, error) {
	n, err := c.stream.Read(p)
	c.left -= int64(n)
	if c.digester != nil {
		c.digester.Hash().Write(p[:n]) // Never fails.
	}
	switch {
	case err == io.EOF && c.digester != nil && c.digester.Digest() != c.want:
		return n, &errdef.MismatchError{Name: c.name, Want: c.want, Got: c.digester.Digest()}
	case err == io.EOF && c.left != 0: // The file is not the one that was opened any more.
		return n, fmt.Errorf("reading %s: %d bytes are missing: %w", c.name, c.left, io.ErrUnexpectedEOF)
	case err != nil && err != io.EOF:
		return n, fmt.Errorf("reading %s: %w", c.name, err)
	}
	return n, err
}

// verifyDocument checks data that was read as a whole.
func verifyDocument(name string, data []byte, want digest.Digest) error {
	if got := want.Algorithm().FromBytes(data); got != want {
		return &errdef.MismatchError{Name: name, Want: want, Got: got}
	}
	return nil
}
