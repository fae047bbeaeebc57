package delta

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// The streams of a delta, in their order. The code that writes and reads a stream
// describes its content; docs/format.md describes all.
const (
	streamCopies = iota
	streamGaps
	streamValues
	streamExtra
	streamMembers
	streamBlocks
	streamSizes
	streamLengths
	streamHeaders
	streamRuns
	streamKinds
	streamNear
	streamFar
	numStreams
)

// maxWindow is how much of a stream its reader must keep at most.
const maxWindow = 4 << 20

// streamBuffer is how much of a stream waits in memory.
const streamBuffer = 32 << 10

// streamWriter collects the streams of a delta while they are made. They wait in a
// temporary file, interleaved, and are compressed one after the other.
type streamWriter struct {
	file   *local.File
	end    int64
	limit  int64 // of all, uncompressed
	err    error
	all    [numStreams]rawStream
	number [binary.MaxVarintLen64]byte
}

type rawStream struct {
	buf    []byte
	size   int64
	chunks []chunk
}

// chunk is where a part of a stream waits.
type chunk struct {
	at int64
	n  int
}

func newStreamWriter(dir string, limit int64) (*streamWriter, error) {
	f, err := spool.Create(dir)
	if err != nil {
		return nil, err
	}
	return &streamWriter{file: f, limit: limit}, nil
}

// Close closes the file.
func (w *streamWriter) Close() error { return w.file.Close() }

func (w *streamWriter) bytes(stream int, p []byte) {
	s := &w.all[stream]
	s.size += int64(len(p))
	for len(p) > 0 {
		if s.buf == nil {
			s.buf = make([]byte, 0, streamBuffer)
		}
		n := min(len(p), cap(s.buf)-len(s.buf))
		s.buf = append(s.buf, p[:n]...)
		p = p[n:]
		if len(s.buf) == cap(s.buf) {
			w.spill(s)
		}
	}
}

func (w *streamWriter) byte(stream int, b byte) {
	w.number[0] = b
	w.bytes(stream, w.number[:1])
}

func (w *streamWriter) uint(stream int, v uint64) {
	w.bytes(stream, binary.AppendUvarint(w.number[:0], v))
}

func (w *streamWriter) int(stream int, v int64) {
	w.bytes(stream, binary.AppendVarint(w.number[:0], v))
}

// spill empties the buffer of a stream, even after an error: the caller may write more before it
// sees the error.
func (w *streamWriter) spill(s *rawStream) {
	b := s.buf
	s.buf = s.buf[:0]
	if len(b) == 0 || w.err != nil {
		return
	}
	if w.end+int64(len(b)) > w.limit {
		w.err = ErrNoGain
		return
	}
	if _, w.err = w.file.WriteAt(b, w.end); w.err != nil {
		return
	}
	s.chunks = append(s.chunks, chunk{w.end, len(b)})
	w.end += int64(len(b))
}

// raw returns a stream from its beginning, as far as it has been written.
func (w *streamWriter) raw(stream int) io.Reader {
	s := &w.all[stream]
	w.spill(s)
	return &chunkReader{file: w.file, chunks: s.chunks}
}

type chunkReader struct {
	file   io.ReaderAt
	chunks []chunk
	off    int
}

// Read implements io.Reader.
func (r *chunkReader) Read(p []byte) (int, error) {
	if len(r.chunks) == 0 {
		return 0, io.EOF
	}
	c := r.chunks[0]
	p = p[:min(len(p), c.n-r.off)]
	n, err := r.file.ReadAt(p, c.at+int64(r.off))
	if r.off += n; r.off == c.n {
		r.chunks, r.off = r.chunks[1:], 0
	}
	if n == len(p) {
		err = nil
	}
	return n, err
}

// compress writes all streams to out and returns their sizes.
func (w *streamWriter) compress(ctx context.Context, out io.Writer) (sizes [numStreams]streamSize, err error) {
	for i := range w.all {
		w.spill(&w.all[i])
		w.all[i].buf = nil
	}
	if w.err != nil {
		return sizes, w.err
	}
	counted := &countingWriter{w: out}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(maxWindow), zstd.WithEncoderCRC(false))
	if err != nil {
		return sizes, err
	}
	for i := range w.all {
		s := &w.all[i]
		sizes[i].raw = s.size
		if s.size == 0 {
			continue
		}
		before := counted.n
		z.ResetContentSize(counted, s.size)
		if _, err := io.Copy(z, &contextReader{ctx, &chunkReader{file: w.file, chunks: s.chunks}}); err != nil {
			return sizes, errors.Join(err, z.Close())
		}
		if err := z.Close(); err != nil {
			return sizes, err
		}
		sizes[i].stored = counted.n - before
	}
	return sizes, nil
}

// streamSize is how large a stream is, and how large in the delta.
type streamSize struct{ raw, stored int64 }

// stream is one of a delta that is applied. All its methods return an error that
// says that the delta is damaged, unless it could not be read.
type stream struct {
	source rememberingReader
	z      *zstd.Decoder // nil: empty, or not compressed
	left   int64         // not read yet
	buf    []byte
	pos    int
}

// openStream opens the stream that is compressed in r.
func openStream(r io.Reader, size streamSize) (*stream, error) {
	s := &stream{source: rememberingReader{r: r}, left: size.raw}
	if (size.raw == 0) != (size.stored == 0) {
		return nil, fmt.Errorf("%w: the size of a stream", ErrDamaged)
	}
	if size.raw == 0 {
		return s, nil
	}
	var err error
	s.z, err = zstd.NewReader(&s.source, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, s.failure(err)
	}
	s.buf = make([]byte, 0, min(size.raw, streamBuffer))
	return s, nil
}

// Close frees the decoder.
func (s *stream) Close() {
	if s.z != nil {
		s.z.Close()
	}
}

// from returns the reader of the stream.
func (s *stream) from() io.Reader {
	if s.z == nil {
		return &s.source // is not compressed: while a delta is made
	}
	return s.z
}

func (s *stream) failure(err error) error {
	if s.source.err != nil && s.source.err != io.EOF {
		return s.source.err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// fill reads more into an empty buffer.
func (s *stream) fill() error {
	if s.left == 0 {
		return fmt.Errorf("%w: a stream is too short", ErrDamaged)
	}
	n, err := io.ReadFull(s.from(), s.buf[:min(s.left, int64(cap(s.buf)))])
	if err != nil {
		return s.failure(err)
	}
	s.buf, s.pos = s.buf[:n], 0
	s.left -= int64(n)
	return nil
}

// end is an error if the stream goes on.
func (s *stream) end() error {
	if !s.empty() {
		return fmt.Errorf("%w: a stream is too long", ErrDamaged)
	}
	if s.z == nil {
		return nil
	}
	var next [1]byte
	if n, err := io.ReadFull(s.z, next[:]); n > 0 {
		return fmt.Errorf("%w: a stream is too long", ErrDamaged)
	} else if err != io.EOF {
		return s.failure(err)
	}
	return nil
}

// empty reports whether everything has been read.
func (s *stream) empty() bool { return s.left == 0 && s.pos == len(s.buf) }

func (s *stream) byte() (byte, error) {
	if s.pos == len(s.buf) {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	b := s.buf[s.pos]
	s.pos++
	return b, nil
}

// read fills p.
func (s *stream) read(p []byte) error {
	for len(p) > 0 {
		if s.pos == len(s.buf) {
			if err := s.fill(); err != nil {
				return err
			}
		}
		n := copy(p, s.buf[s.pos:])
		s.pos += n
		p = p[n:]
	}
	return nil
}

// uint reads a number of at most 63 bits.
func (s *stream) uint() (int64, error) {
	if s.pos < len(s.buf) && s.buf[s.pos] < 0x80 {
		s.pos++
		return int64(s.buf[s.pos-1]), nil
	}
	v := uint64(0)
	for shift := 0; shift < 63; shift += 7 {
		b, err := s.byte()
		if err != nil {
			return 0, err
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return int64(v), nil
		}
	}
	return 0, fmt.Errorf("%w: a number is too large", ErrDamaged)
}

// int reads a number of at most 63 bits with its sign.
func (s *stream) int() (int64, error) {
	v, err := s.uint()
	return v>>1 ^ -(v & 1), err
}
