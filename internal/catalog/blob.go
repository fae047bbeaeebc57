package catalog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"

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

// Open returns the content of the blob. At its end, reading fails with an error
// that names both digests if it is not what the digest says.
func (b Blob) Open(ctx context.Context) (io.ReadCloser, error) {
	if b.data != nil {
		return io.NopCloser(bytes.NewReader(b.data)), nil
	}
	stream, err := b.file.open()
	if err != nil {
		return nil, err
	}
	v := &verifier{
		stream:   stream,
		name:     b.file.Name,
		want:     b.Digest,
		digester: b.Digest.Algorithm().Digester(),
	}
	return &blobReader{Reader: async.NewReader(ctx, v), stream: stream}, nil
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

// verifier fails at the end of a stream that is not what its digest says.
type verifier struct {
	stream   io.Reader
	name     string
	want     digest.Digest
	digester digest.Digester
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.stream.Read(p)
	v.digester.Hash().Write(p[:n]) // Never fails.
	switch {
	case err == io.EOF:
		if got := v.digester.Digest(); got != v.want {
			return n, MismatchError{Name: v.name, Want: v.want, Got: got}
		}
	case err != nil:
		err = fmt.Errorf("reading %s: %w", v.name, err)
	}
	return n, err
}

// MismatchError says that content is not what its digest says.
type MismatchError struct {
	Name      string // of the entry
	Want, Got digest.Digest
}

// Error names the entry and both digests.
func (e MismatchError) Error() string {
	return fmt.Sprintf("%s is damaged: its digest should be %s but is %s", e.Name, e.Want, e.Got)
}

// verifyDocument checks data that was read as a whole.
func verifyDocument(name string, data []byte, want digest.Digest) error {
	if got := want.Algorithm().FromBytes(data); got != want {
		return MismatchError{Name: name, Want: want, Got: got}
	}
	return nil
}
