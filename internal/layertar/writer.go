package layertar

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// bufferSize is how much is read, and written, at once.
const bufferSize = 256 << 10

// Writer writes the tar of a layer. All its headers are USTAR, with PAX records for
// fields that do not fit: names and links of more than 100 bytes or not in ASCII,
// sizes from 8 GiB, big IDs, fractions of a second, extended attributes. The bytes
// of a name are written as they are, UTF-8 or not. docker, podman, containerd and
// umoci write the same, and all read it alike.
//
// A Writer must not be used concurrently, nor after an error.
type Writer struct {
	ctx context.Context
	buf *bufio.Writer
	tar *tar.Writer
	mem []byte
}

// NewWriter returns a Writer to w, which is written in large pieces. When ctx ends,
// so does every method, with its error.
func NewWriter(ctx context.Context, w io.Writer) *Writer {
	buf := bufio.NewWriterSize(w, bufferSize)
	return &Writer{ctx, buf, tar.NewWriter(buf), make([]byte, bufferSize)}
}

// Write writes an entry: its header, which is not changed, and as many bytes of
// content as its size. Content may be nil if there are none. An error of content is
// returned with the entry's name; it is an io.ErrUnexpectedEOF if there are too few.
func (w *Writer) Write(h *tar.Header, content io.Reader) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	plain := Plain(h)
	if err := w.tar.WriteHeader(plain); err != nil {
		return fmt.Errorf("write header of %q: %w", h.Name, err)
	}
	for rest := plain.Size; rest > 0; {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		n, err := content.Read(w.mem[:min(rest, int64(len(w.mem)))])
		rest -= int64(n)
		if _, err := w.tar.Write(w.mem[:n]); err != nil {
			return fmt.Errorf("write %q: %w", h.Name, err)
		}
		if err != nil && rest > 0 {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read %q: %w", h.Name, err)
		}
	}
	return nil
}

// Flush writes the buffered bytes, up to the end of the last entry.
func (w *Writer) Flush() error {
	if err := w.tar.Flush(); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	if err := w.buf.Flush(); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	return nil
}

// Close writes the end of the tar. It does not close the underlying writer.
func (w *Writer) Close() error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if err := w.tar.Close(); err != nil {
		return fmt.Errorf("write end of layer: %w", err)
	}
	if err := w.buf.Flush(); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	return nil
}

// Plain returns the header to write for an entry that was read. A sparse file
// becomes a regular one, as archive/tar gives its contents with the holes filled; an
// entry without content has no size; and no record repeats the header.
func Plain(h *tar.Header) *tar.Header {
	plain := recorded(h)
	switch h.Typeflag {
	case tar.TypeGNUSparse, tar.TypeCont: // Other names for a regular file.
		plain.Typeflag = tar.TypeReg
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo:
		plain.Size = 0
	}
	plain.Format = tar.FormatPAX
	plain.PAXRecords = without(h.PAXRecords, func(key string) bool {
		return ownRecords[key] || strings.HasPrefix(key, "GNU.sparse.")
	})
	return &plain
}

// ownRecords are the PAX records that archive/tar makes of a header's fields.
var ownRecords = map[string]bool{
	"path": true, "linkpath": true, "size": true, "uid": true, "gid": true, "uname": true, "gname": true,
	"mtime": true, "atime": true, "ctime": true, "charset": true, "comment": true,
}
