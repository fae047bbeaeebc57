package layertar

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// maxSparse is how many bytes the sparse files of a layer may have together. A
// header of 512 bytes can speak of a hole of 8 EiB, which has to be written.
const maxSparse = 1 << 40

// Filter copies the tar of a layer with its headers rewritten. The entries keep
// their order, names, duplicates and whiteouts. Sparse files are written with their
// holes filled, as layers have no sparse files by their specification, and global
// PAX headers are left out, as clients ignore them.
//
// The layer's content stays the same, but not its bytes, even if nothing is
// rewritten: headers get the form of Writer, and the end is the two blocks that it
// must have, without padding.
//
// The tar is read to the end of r, beyond its own, so that a verifying reader can
// verify all. An invalid tar, or one that is cut short, is an ErrDamaged, and sparse
// files of more than 1 TiB in all are an ErrLimit. When ctx ends, so does the copy,
// with its error.
func Filter(ctx context.Context, w io.Writer, r io.Reader, rewriting *Rewriting) error {
	out := NewWriter(ctx, w)
	err := Each(ctx, r, func(h *tar.Header, content io.Reader) error {
		if err := rewriting.Apply(h); err != nil {
			return err
		}
		return out.Write(h, content)
	})
	if err != nil {
		return err
	}
	return out.Close()
}

// Each calls a function for every entry of a layer's tar, with its content, which
// need not be read and is valid until the function returns. Global headers are left
// out. The header is the function's to keep and to change. The stream is read to its
// end, and its errors are those that Filter describes.
func Each(ctx context.Context, r io.Reader, entry func(h *tar.Header, content io.Reader) error) error {
	stream := &stream{ctx: ctx, r: r}
	buffered := bufio.NewReaderSize(stream, bufferSize)
	in := tar.NewReader(buffered)
	var sparse int64
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return stream.explain("read layer", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if IsSparse(h) {
			if h.Size > maxSparse-sparse {
				return fmt.Errorf("%q and other sparse files are larger than %d bytes: %w", h.Name, int64(maxSparse), errdef.ErrLimit)
			}
			sparse += h.Size
		}
		if err := entry(h, &content{in, stream}); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, buffered); err != nil {
		return stream.explain("read layer", err)
	}
	return nil
}

// IsSparse reports whether an entry's content has holes that are not stored.
func IsSparse(h *tar.Header) bool {
	return h.Typeflag == tar.TypeGNUSparse || h.PAXRecords["GNU.sparse.major"] != "" || h.PAXRecords["GNU.sparse.map"] != ""
}

// stream is the stream of a layer. It remembers its own failure, which is not the
// layer's fault.
type stream struct {
	ctx context.Context
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	if s.err = s.ctx.Err(); s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// explain returns the error of reading an archive: the stream's own, or else that
// the archive is damaged.
func (s *stream) explain(doing string, err error) error {
	if s.err != nil {
		return fmt.Errorf("%s: %w", doing, s.err)
	}
	return fmt.Errorf("%s: %w: %w", doing, errdef.ErrDamaged, err)
}

// content is the content of an entry.
type content struct {
	in     *tar.Reader
	stream *stream
}

// Read implements io.Reader.
func (c *content) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = c.stream.explain("read content", err)
	}
	return n, err
}
