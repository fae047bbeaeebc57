package files

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// bufferSize is how much of a stream is read at once, headerSize how much where what is
// between headers is not read, and denseSize how much if there is little between them.
const (
	bufferSize = 256 << 10
	headerSize = 4 << 10
	denseSize  = 64 << 10
)

// maxSparse is how many bytes the sparse files of a layer may have together. A header of
// 512 bytes can speak of a hole of 8 EiB.
const maxSparse = 1 << 40

// limits bound all layers of an image together. They count down, and are used
// concurrently.
type limits struct {
	entries, bytes       atomic.Int64
	maxEntries, maxBytes int64
}

// size is the share of a layer in the limits.
type size struct{ entries, bytes int64 }

// taking counts the share of a layer that is being read.
type taking struct {
	*limits
	size
}

// giveBack is for a layer that could not be read: it may be read again.
func (l *limits) giveBack(s size) {
	l.entries.Add(s.entries)
	l.bytes.Add(s.bytes)
}

// count takes the share of a layer that another tree has read.
func (l *limits) count(s size) error {
	entries, bytes := l.entries.Add(-s.entries), l.bytes.Add(-s.bytes)
	if entries < 0 || bytes < 0 {
		l.giveBack(s)
		return fmt.Errorf("the image has too many files, or too long names: more than %d entries or %d bytes: %w", l.maxEntries, l.maxBytes, errdef.ErrLimit)
	}
	return nil
}

// take counts an entry.
func (l *taking) take(h *tar.Header) error {
	size := int64(len(h.Name)) + int64(len(h.Linkname))
	for key, value := range h.PAXRecords {
		size += int64(len(key)) + int64(len(value))
	}
	l.size.entries++
	l.size.bytes += size
	switch {
	case l.limits.entries.Add(-1) < 0:
		return fmt.Errorf("the image has too many files, up to %.100q: more than %d entries: %w", h.Name, l.maxEntries, errdef.ErrLimit)
	case l.limits.bytes.Add(-size) < 0:
		return fmt.Errorf("the image has too long names, links and extended attributes, up to %.100q: more than %d bytes: %w", h.Name, l.maxBytes, errdef.ErrLimit)
	}
	return nil
}

// place is where a file is in its layer's tar. The place of a sparse file is where the
// first of several that follow each other has its headers, and how many are before it:
// only the headers say where the content is.
type place struct {
	at    int64
	nth   int32
	index int32
}

// found is called for each file with content in a layer that is being read. A later entry may
// replace the file.
type found func(n *node, f *File, content io.Reader) error

// scanner reads a layer's tar.
type scanner struct {
	taking
	*maker
	layer   *layer
	outside func(h *tar.Header) // nil if names must not lead out of the root
	keep    bool                // the entries as they are
	found   found               // nil if contents are not read
	sparse  int64
	total   int64 // bytes of content
}

// scan reads the tar to its end. The stream goes on where that is.
func (s *scanner) scan(in positioned) error {
	r := tar.NewReader(in)
	index := int32(-1)
	next, sparse, nth := int64(0), false, int32(0)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return in.explain(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			next, sparse = padded(in.position()), false
			continue
		}
		index++
		at := place{in.position(), 0, index}
		switch is := layertar.IsSparse(h); {
		case !is:
			next, sparse = padded(at.at+contentSize(h)), false
		case sparse:
			nth++
			at.at, at.nth = next, nth
		default:
			at.at, sparse, nth = next, true, 0
		}
		n, err := s.entry(h, at, sparse)
		if err != nil {
			return err
		}
		if s.found != nil && n != nil && n.file.IsRegular() && n.file.size > 0 && !n.link {
			if err := s.found(n, n.file, explained{r, in}); err != nil {
				return err
			}
		}
	}
	s.layer.root.freeze()
	return nil
}

// padded returns where a header can be that follows what ends there.
func padded(end int64) int64 { return (end + 511) &^ 511 }

// contentSize returns how many bytes of content follow a header.
func contentSize(h *tar.Header) int64 {
	switch h.Typeflag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo:
		return 0
	}
	return h.Size
}

// entry notes an entry. It returns the entry's node, nil for a whiteout.
func (s *scanner) entry(h *tar.Header, at place, sparse bool) (*node, error) {
	if err := s.take(h); err != nil {
		return nil, err
	}
	if sparse {
		if h.Size > maxSparse-s.sparse {
			return nil, fmt.Errorf("%.100q and other sparse files are larger than %d bytes: %w", h.Name, int64(maxSparse), errdef.ErrLimit)
		}
		s.sparse += h.Size
	}
	if s.outside != nil {
		s.outside(h)
	}
	path, err := layertar.Clean(h.Name)
	if err != nil {
		return nil, err
	}
	if err := check(h, path); err != nil {
		return nil, err
	}
	f := s.file(h, at)
	if f.IsRegular() && !whiteout(path) {
		s.total += f.size
	}
	if s.keep {
		s.layer.entries = append(s.layer.entries, entry{path, f})
	}
	return s.layer.add(path, f)
}

// check refuses entries that cannot be files.
func check(h *tar.Header, path string) error {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse, tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo:
	default:
		return fmt.Errorf("%q is of the unknown type %q: %w", path, h.Typeflag, errdef.ErrDamaged)
	}
	switch {
	case path == "" && h.Typeflag != tar.TypeDir:
		return fmt.Errorf("the root is not a directory but of the type %q: %w", h.Typeflag, errdef.ErrDamaged)
	case h.Size < 0:
		return fmt.Errorf("%q has a negative size: %w", path, errdef.ErrDamaged)
	case len(h.Linkname) > layertar.MaxPath:
		return fmt.Errorf("the target of the link %q has %d bytes, more than %d: %w", path, len(h.Linkname), layertar.MaxPath, errdef.ErrLimit)
	}
	return nil
}

// positioned is a tar whose position is known. archive/tar reads exactly what it needs,
// and skips content by Seek.
type positioned interface {
	io.ReadSeeker
	position() int64
	explain(err error) error
}

// streamed is a tar that is read from its start to its end.
type streamed struct {
	*bufio.Reader
	source remembering
	at     int64
}

func newStreamed(r io.Reader) *streamed {
	s := &streamed{source: remembering{r: r}}
	s.Reader = bufio.NewReaderSize(&s.source, bufferSize)
	return s
}

// Read implements io.Reader.
func (s *streamed) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.at += int64(n)
	return n, err
}

// Seek implements io.Seeker, forwards only.
func (s *streamed) Seek(n int64, _ int) (int64, error) {
	for n > 0 {
		skipped, err := s.Discard(int(min(n, 1<<30)))
		s.at += int64(skipped)
		n -= int64(skipped)
		if errors.Is(err, io.EOF) {
			break // The read that follows says so.
		}
		if err != nil {
			return -1, err
		}
	}
	return s.at, nil
}

func (s *streamed) position() int64 { return s.at }

// explain returns the error of reading a tar: the stream's own, or else that the layer
// is damaged.
func (s *streamed) explain(err error) error {
	if s.source.err != nil {
		return s.source.err
	}
	return fmt.Errorf("read layer: %w: %w", errdef.ErrDamaged, err)
}

// finish reads what follows the end of the tar, and returns the size of all.
func (s *streamed) finish() (int64, error) {
	n, err := io.Copy(io.Discard, s.Reader)
	if err != nil {
		return 0, s.explain(err)
	}
	return s.at + n, nil
}

// seeking is a tar that is read for its headers only.
type seeking struct {
	ctx  context.Context
	r    io.ReaderAt
	size int64
	at   int64
	err  error // of reading r

	from int64 // where in r the buffer begins
	buf  []byte
	mem  [denseSize]byte
}

// Read implements io.Reader.
func (s *seeking) Read(p []byte) (int, error) {
	if s.at < s.from || s.at >= s.from+int64(len(s.buf)) {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.buf[s.at-s.from:])
	s.at += int64(n)
	return n, nil
}

func (s *seeking) fill() error {
	if s.at >= s.size {
		return io.EOF
	}
	if s.err = s.ctx.Err(); s.err != nil {
		return s.err
	}
	next := int64(headerSize)
	if s.at-s.from-int64(len(s.buf)) < denseSize {
		next = denseSize
	}
	n, err := s.r.ReadAt(s.mem[:min(next, s.size-s.at)], s.at)
	s.from, s.buf = s.at, s.mem[:n]
	if n > 0 {
		return nil
	}
	if !errors.Is(err, io.EOF) {
		s.err = err
	}
	return err
}

// Seek implements io.Seeker, from where it is.
func (s *seeking) Seek(n int64, _ int) (int64, error) {
	if n > s.size-s.at { // The read that follows says so.
		n = s.size - s.at
	}
	s.at += n
	return s.at, nil
}

func (s *seeking) position() int64 { return s.at }

func (s *seeking) explain(err error) error {
	if s.err != nil {
		return s.err
	}
	return fmt.Errorf("read layer: %w: %w", errdef.ErrDamaged, err)
}
