package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// Blob is a config or a layer as the manifest describes it.
type Blob struct {
	Digest digest.Digest
	Size   int64 // in bytes

	data   []byte // its content, or
	file   stored // where that is, or
	borrow func(ctx context.Context) (*Loan, error)
}

// stored is a file of the archive, perhaps compressed by itself.
type stored struct {
	tarfile.Member
	files     *tarfile.Index
	algorithm compression.Algorithm // to be undone
}

// Open returns the content of the blob. Reading fails if it has another size
// than Size. A layer that is decompressed here is verified here: at its end,
// reading fails with an errdef.MismatchError. One that is stored as it is wanted is
// not: containers/image leaves that to the caller, and its copy pipeline does it.
// Verifying twice made copying a third more expensive.
func (b Blob) Open(ctx context.Context) (io.ReadCloser, error) {
	verified := b.Digest
	if b.file.algorithm == compression.None {
		verified = ""
	}
	return b.open(ctx, b.file.algorithm, b.Size, verified)
}

// OpenVerified is Open for callers that do not verify: if the digest is wrong,
// reading fails at the end with an errdef.MismatchError.
func (b Blob) OpenVerified(ctx context.Context) (io.ReadCloser, error) {
	return b.open(ctx, b.file.algorithm, b.Size, b.Digest)
}

// OpenUnpacked returns the content as it is without compression, be the blob
// compressed or not. At its end, reading fails with an errdef.MismatchError if it
// does not have diffID; an empty one says nothing.
func (b Blob) OpenUnpacked(ctx context.Context, diffID digest.Digest) (io.ReadCloser, error) {
	if b.data != nil {
		return b.OpenVerified(ctx)
	}
	if b.borrow != nil {
		return b.openBorrowed(ctx, true, -1, diffID)
	}
	algorithm, err := detect(b.file.files, b.file.Member)
	if err != nil {
		return nil, err
	}
	return b.open(ctx, algorithm, -1, diffID)
}

// ReadDocument returns the content, verified, of what should be a config, or an
// errdef.ErrLimit if it is too long for one.
func (b Blob) ReadDocument(ctx context.Context) ([]byte, error) {
	if b.Size > image.MaxDocument {
		return nil, fmt.Errorf("reading %s: %w: %d bytes, at most %d are allowed", b.Digest, errdef.ErrLimit, b.Size, image.MaxDocument)
	}
	stream, err := b.OpenVerified(ctx)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(stream)
	return data, errors.Join(err, stream.Close())
}

// Section returns where in the archive the blob is, as it is wanted; nil if it is
// nowhere, or not in one piece. It is not verified.
func (b Blob) Section() *io.SectionReader {
	if b.data != nil || b.borrow != nil || b.file.algorithm != compression.None || b.file.files.IsSparse(b.file.Member) {
		return nil
	}
	return b.file.files.Open(b.file.Member)
}

// Stored returns the bytes that the archive has of the blob, compressed or not, for
// reading anywhere and concurrently, and the digest that they should have: it is empty if
// the blob is wanted in another form. Nothing is verified. It is not for what IsBorrowed.
func (b Blob) Stored() (*io.SectionReader, digest.Digest) {
	switch {
	case b.data != nil:
		return io.NewSectionReader(bytes.NewReader(b.data), 0, int64(len(b.data))), b.Digest
	case b.file.algorithm != compression.None:
		return b.file.files.Open(b.file.Member), ""
	}
	return b.file.files.Open(b.file.Member), b.Digest
}

// open decompresses what is stored. Reading fails if it has another size, unless
// that is negative, or another digest, unless that is empty.
func (b Blob) open(ctx context.Context, algorithm compression.Algorithm, size int64, want digest.Digest) (io.ReadCloser, error) {
	if b.data != nil { // Its digest was made of it.
		return io.NopCloser(bytes.NewReader(b.data)), nil
	}
	if b.borrow != nil {
		return b.openBorrowed(ctx, false, size, want)
	}
	file := b.file
	file.algorithm = algorithm
	stream, err := file.open()
	if err != nil {
		return nil, err
	}
	return checked(ctx, stream, file.Name, size, want), nil
}

// checked is a stream that fails if it has another size, or another digest.
func checked(ctx context.Context, stream io.ReadCloser, name string, size int64, want digest.Digest) io.ReadCloser {
	c := &checker{stream: stream, name: name, size: size, want: want}
	if want != "" {
		c.digester = want.Algorithm().Digester()
	}
	// It decompresses and verifies while its user does something else, and only it
	// knows when the decompressor can be used for another blob.
	return async.NewReadCloser(ctx, c)
}

// open returns the uncompressed content.
func (s stored) open() (io.ReadCloser, error) {
	stream, err := unpack(s.files.Open(s.Member), s.algorithm)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", printable.String(s.Name), err)
	}
	return stream, nil
}

func unpack(r io.Reader, algorithm compression.Algorithm) (io.ReadCloser, error) {
	source := &source{r: r}
	stream, err := compression.NewReader(source, algorithm)
	if err != nil {
		return nil, source.blame(err)
	}
	return &unpacker{stream, source}, nil
}

// source remembers whether the archive could be read.
type source struct {
	r   io.Reader
	err error // other than io.EOF
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != io.EOF {
		s.err = err
	}
	return n, err
}

// blame makes an error of decompressing one of a damaged archive, unless it is
// one of reading it.
func (s *source) blame(err error) error {
	if err == nil || err == io.EOF || s.err != nil {
		return err
	}
	return errdef.Errorf(errdef.ErrDamaged, "%w", err)
}

// unpacker is the uncompressed content of a file.
type unpacker struct {
	io.ReadCloser
	source *source
}

// Read implements io.Reader.
func (u *unpacker) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	return n, u.source.blame(err)
}

// checker fails at the end of a stream with wrong content.
type checker struct {
	stream   io.ReadCloser
	name     string
	size, n  int64 // in bytes: expected, negative if unknown; read
	want     digest.Digest
	digester digest.Digester // nil if others compute the digest
}

// Read implements io.Reader.
func (c *checker) Read(p []byte) (int, error) {
	n, err := c.stream.Read(p)
	c.n += int64(n)
	if c.digester != nil {
		c.digester.Hash().Write(p[:n]) // Never fails.
	}
	switch {
	case err == io.EOF && c.size >= 0 && c.n < c.size: // The archive was cut since it was opened.
		return n, errdef.Errorf(errdef.ErrDamaged, "reading %s: %d bytes are missing: %w", printable.String(c.name), c.size-c.n, io.ErrUnexpectedEOF)
	case err == io.EOF && c.digester != nil && c.digester.Digest() != c.want:
		return n, &errdef.MismatchError{Name: c.name, Want: c.want, Got: c.digester.Digest()}
	case err != nil && err != io.EOF:
		return n, fmt.Errorf("reading %s: %w", printable.String(c.name), err)
	}
	return n, err
}

// Close implements io.Closer.
func (c *checker) Close() error { return c.stream.Close() }

// verifyDocument checks data that was read as a whole.
func verifyDocument(name string, data []byte, want digest.Digest) error {
	if got := want.Algorithm().FromBytes(data); got != want {
		return &errdef.MismatchError{Name: name, Want: want, Got: got}
	}
	return nil
}
