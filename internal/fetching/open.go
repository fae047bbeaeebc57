package fetching

import (
	"bufio"
	"context"
	"errors"
	"io"
	"sync"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Open returns a blob of an image for callers that store it and verify its digest without
// Options.Store. It is read as others are: in ranges, on the lines and with the buffers that
// all blobs share, and on from where it broke. A missing blob is an error at once.
func (f *Fetcher) Open(ctx context.Context, img *Image, blob v1.Descriptor) (io.ReadCloser, error) {
	f.lines.begin()
	r := newReader(ctx, f, &Blob{Blob: image.Blob{Descriptor: blob}}, []*Image{img})
	o := &openedBlob{reader: r, buffered: bufio.NewReaderSize(r, 16)}
	if _, err := o.buffered.Peek(1); err != nil && err != io.EOF {
		o.Close()
		return nil, o.own(err)
	}
	return o, nil
}

// openedBlob is a blob that the caller stores.
type openedBlob struct {
	reader   *reader
	buffered *bufio.Reader
	once     sync.Once
}

// Read implements io.Reader.
func (o *openedBlob) Read(p []byte) (int, error) {
	n, err := o.buffered.Read(p)
	return n, o.own(err)
}

// own returns the source's own error.
func (o *openedBlob) own(err error) error {
	var failed *sourceError
	if errors.As(err, &failed) {
		return failed.err
	}
	return err
}

// Close ends reading.
func (o *openedBlob) Close() error {
	o.once.Do(func() {
		o.reader.close()
		o.reader.f.lines.end()
	})
	return nil
}
