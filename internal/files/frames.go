package files

import (
	"encoding/binary"
	"errors"
	"io"
	"sort"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/dockerarchive/dockerarchive/internal/compression"
)

const (
	// frameEvery is how much data is between two frames at which a zstd layer is entered,
	// at least, and maxFrame how much at most: one that has more is unpacked to a file.
	frameEvery = 1 << 20
	maxFrame   = 16 << 20
	// maxFrames is how many frames a stream may have. One of more is unpacked to a file.
	maxFrames = 1 << 16
)

// frames is where a zstd layer can be entered: frames are independent of each other.
type frames struct {
	at   io.ReaderAt
	size int64
	ends []int64 // of all frames, in the stream

	starts []frame // those that are used, in their order
	length int64   // of the data

	mutex  sync.Mutex
	reader io.ReadCloser // from the last ReadAt, or nil
	off    int64         // of the data, where it is
}

// frame is where a frame begins: in the stream and in the data.
type frame struct{ in, out int64 }

// findFrames finds the frames of a stream, by their headers and those of their blocks. It
// returns nil if there is only one, or something else than frames: decompressing it then
// reports the fault.
func findFrames(at io.ReaderAt, size int64) *frames {
	f := &frames{at: at, size: size}
	for off := int64(0); off < size; {
		end, ok := frameEnd(at, off, size)
		if !ok || len(f.ends) == maxFrames {
			return nil
		}
		f.ends = append(f.ends, end)
		off = end
	}
	if len(f.ends) < 2 {
		return nil
	}
	return f
}

// frameEnd returns where the frame ends that begins at an offset.
func frameEnd(at io.ReaderAt, off, size int64) (int64, bool) {
	prefix := make([]byte, min(zstd.HeaderMaxSize, size-off))
	var h zstd.Header
	if _, err := at.ReadAt(prefix, off); err != nil && !errors.Is(err, io.EOF) || h.Decode(prefix) != nil {
		return 0, false
	}
	off += int64(h.HeaderSize)
	if h.Skippable {
		off += int64(h.SkippableSize)
		return off, off <= size
	}
	for last := false; !last; {
		var block [4]byte
		if _, err := at.ReadAt(block[:3], off); err != nil {
			return 0, false
		}
		header := binary.LittleEndian.Uint32(block[:])
		last = header&1 != 0
		length := int64(header >> 3)
		switch header >> 1 & 3 {
		case 1: // One byte, repeated.
			length = 1
		case 3:
			return 0, false
		}
		off += 3 + length
	}
	if h.HasCheckSum {
		off += 4
	}
	return off, off <= size
}

// decompress decompresses the stream, which r has, and notes where frames begin in the
// data. It is called once, and read to its end.
func (f *frames) decompress(r io.Reader) (io.ReadCloser, error) {
	return &framesReader{frames: f, r: r, left: f.ends}, nil
}

// framesReader is the data of one frame after another.
type framesReader struct {
	*frames
	r    io.Reader
	left []int64 // ends of frames
	in   int64
	one  *io.LimitedReader // what is left of the frame
	data io.ReadCloser     // of the frame
}

// Read implements io.Reader.
func (r *framesReader) Read(p []byte) (int, error) {
	for {
		if r.data == nil {
			if len(r.left) == 0 {
				return 0, io.EOF
			}
			if err := r.next(); err != nil {
				return 0, err
			}
		}
		n, err := r.data.Read(p)
		r.length += int64(n)
		if err != io.EOF {
			return n, err
		}
		err = r.data.Close()
		r.data = nil
		if err == nil && r.one.N > 0 {
			err = io.ErrUnexpectedEOF
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// next begins with the next frame.
func (r *framesReader) next() error {
	if n := len(r.starts); n == 0 || r.length-r.starts[n-1].out >= frameEvery {
		r.starts = append(r.starts, frame{r.in, r.length})
	}
	r.one = &io.LimitedReader{R: r.r, N: r.left[0] - r.in}
	r.in, r.left = r.left[0], r.left[1:]
	var err error
	r.data, err = compression.NewReader(r.one, compression.Zstd)
	return err
}

// Close implements io.Closer.
func (r *framesReader) Close() error {
	if r.data == nil {
		return nil
	}
	return r.data.Close()
}

// near reports whether every byte of the data is near behind the beginning of a frame.
func (f *frames) near() bool {
	for i, start := range f.starts {
		end := f.length
		if i+1 < len(f.starts) {
			end = f.starts[i+1].out
		}
		if end-start.out > maxFrame {
			return false
		}
	}
	return true
}

// ReadAt implements io.ReaderAt for the data.
func (f *frames) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	start := f.starts[max(0, sort.Search(len(f.starts), func(i int) bool { return f.starts[i].out > off })-1)]
	if f.reader == nil || f.off > off || f.off < start.out {
		f.closeReader()
		reader, err := compression.NewReader(io.NewSectionReader(f.at, start.in, f.size-start.in), compression.Zstd)
		if err != nil {
			return 0, err
		}
		f.reader, f.off = reader, start.out
	}
	skipped, err := io.CopyN(io.Discard, f.reader, off-f.off)
	f.off += skipped
	n := 0
	if err == nil {
		n, err = io.ReadFull(f.reader, p)
		f.off += int64(n)
	}
	if err != nil {
		f.closeReader()
		if errors.Is(err, io.ErrUnexpectedEOF) && off+int64(n) == f.length {
			err = io.EOF
		}
	}
	return n, err
}

func (f *frames) closeReader() {
	if f.reader != nil {
		_ = f.reader.Close() // It was only read.
	}
	f.reader = nil
}

// Close gives the decoder back. The frames can still be used.
func (f *frames) Close() error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.closeReader()
	return nil
}
