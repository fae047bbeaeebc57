// Package compression tells by its first bytes how a stream is compressed and
// decompresses it. It knows nothing of layers or archives.
package compression

import (
	"bytes"
	"compress/bzip2"
	"fmt"
	"io"

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

// PrefixLen is the number of bytes Detect needs to know every Algorithm.
const PrefixLen = 6

// maxWindow bounds what a zstd stream may ask of memory: 128 MiB is what
// "zstd --long=27", the most that zstd itself decodes unasked, needs.
const maxWindow = 128 << 20

var magics = []struct {
	algorithm Algorithm
	name      string
	magic     []byte
}{
	{Gzip, "gzip", []byte{0x1f, 0x8b, 0x08}},
	{Zstd, "zstd", []byte{0x28, 0xb5, 0x2f, 0xfd}},
	{XZ, "xz", []byte{0xfd, '7', 'z', 'X', 'Z', 0x00}},
	{Bzip2, "bzip2", []byte{'B', 'Z', 'h'}},
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
// compressed with, None if it is none of those known.
func Detect(prefix []byte) Algorithm {
	for _, m := range magics {
		if bytes.HasPrefix(prefix, m.magic) {
			return m.algorithm
		}
	}
	// A zstd stream may start with a skippable frame.
	if len(prefix) >= 4 && prefix[0]&0xf0 == 0x50 && bytes.Equal(prefix[1:4], []byte{0x2a, 0x4d, 0x18}) {
		return Zstd
	}
	return None
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
