// Package compression tells by its first bytes how a stream is compressed and
// decompresses it. It knows nothing of layers or archives.
package compression

import (
	"bytes"
	"compress/bzip2"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/dockerarchive/dockerarchive/internal/inflate"
)

// Algorithm is a way to compress a stream.
type Algorithm int

// The algorithms that layers and whole archives are compressed with.
const (
	None Algorithm = iota
	Gzip
	Zstd
	XZ
	Bzip2
)

// PrefixLen is the number of bytes Detect needs to know every Algorithm, and a tar
// archive from all of them.
const PrefixLen = 512

// maxWindow bounds what a zstd stream may ask of memory: 128 MiB is enough for
// "zstd --long=27", the most that zstd itself decodes unasked.
const maxWindow = 128 << 20

var magics = []struct {
	algorithm Algorithm
	name      string
	magic     []byte
}{
	{Gzip, "gzip", []byte{0x1f, 0x8b, 0x08}},
	{Zstd, "zstd", []byte{0x28, 0xb5, 0x2f, 0xfd}},
	{XZ, "xz", []byte{0xfd, '7', 'z', 'X', 'Z', 0x00}},
	{Bzip2, "bzip2", []byte{'B', 'Z', 'h'}}, // and what isBzip2 looks at
}

// String returns the common name of the algorithm, "none" for None.
func (a Algorithm) String() string {
	for _, m := range magics {
		if m.algorithm == a {
			return m.name
		}
	}
	return "none"
}

// Detect returns the algorithm that a stream which starts with prefix is
// compressed with, None if it is none of those known. A tar archive is not
// compressed, even if its first file name begins like a compressed stream.
func Detect(prefix []byte) Algorithm {
	if isTar(prefix) {
		return None
	}
	for _, m := range magics {
		if !bytes.HasPrefix(prefix, m.magic) {
			continue
		}
		if m.algorithm == Bzip2 && !isBzip2(prefix) || m.algorithm == Gzip && !isGzip(prefix) {
			return None
		}
		return m.algorithm
	}
	// A zstd stream may start with a skippable frame.
	if len(prefix) >= 4 && prefix[0]&0xf0 == 0x50 && bytes.Equal(prefix[1:4], []byte{0x2a, 0x4d, 0x18}) {
		return Zstd
	}
	return None
}

// isGzip reports whether the flags of a gzip header are among those there are.
func isGzip(prefix []byte) bool {
	const reserved = 0xe0
	return len(prefix) < 4 || prefix[3]&reserved == 0
}

// isBzip2 reports whether a level and the start of a block, or the end of an empty
// stream, follow the magic number.
func isBzip2(prefix []byte) bool {
	const block, end = "\x31\x41\x59\x26\x53\x59", "\x17\x72\x45\x38\x50\x90"
	if len(prefix) < 10 || prefix[3] < '1' || prefix[3] > '9' {
		return false
	}
	next := string(prefix[4:10])
	return next == block || next == end
}

// isTar reports whether prefix is the header of a tar entry: whether its checksum,
// the sum of all bytes with spaces in its own place, is right.
func isTar(prefix []byte) bool {
	const size, from, to = 512, 148, 156
	if len(prefix) < size {
		return false
	}
	want, err := strconv.ParseUint(strings.Trim(string(prefix[from:to]), " \x00"), 8, 32)
	if err != nil {
		return false
	}
	var sum, signed int64 // Some old programs added signed bytes.
	for i, b := range prefix[:size] {
		if i >= from && i < to {
			b = ' '
		}
		sum += int64(b)
		signed += int64(int8(b))
	}
	return sum == int64(want) || signed == int64(want)
}

// NewReader decompresses r. The caller must close what it returns, which does
// not close r. An error that r returned is found with errors.Is and errors.As.
func NewReader(r io.Reader, a Algorithm) (io.ReadCloser, error) {
	var d io.ReadCloser
	var err error
	switch a {
	case None:
		return io.NopCloser(r), nil
	case Gzip:
		d, err = inflate.NewReader(r)
	case Zstd:
		var z *zstd.Decoder
		// One block at a time: a decoder's own goroutines would hold memory for
		// several, and blobs are already decompressed side by side.
		if z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			d = z.IOReadCloser()
		}
	case XZ:
		var x io.Reader
		if x, err = xz.NewReader(r); err == nil {
			d = io.NopCloser(x)
		}
	case Bzip2:
		d = io.NopCloser(bzip2.NewReader(r))
	default:
		err = fmt.Errorf("unknown algorithm %d", int(a))
	}
	if err != nil {
		return nil, fmt.Errorf("decompressing %s: %w", a, err)
	}
	return d, nil
}
