package imagetest

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ulikunitz/xz"
)

// Layer is a layer of an image that a test makes.
type Layer struct {
	Diff      []byte // uncompressed
	Blob      []byte // as the source has it
	Digest    digest.Digest
	MediaType string
	URLs      []string
}

// NewLayer returns a layer that the source has as blob.
func NewLayer(diff, blob []byte, mediaType string) Layer {
	return Layer{Diff: diff, Blob: blob, Digest: digest.FromBytes(blob), MediaType: mediaType}
}

// Plain returns an uncompressed layer with a file of n bytes, which depend on the
// seed.
func Plain(seed uint64, n int) Layer {
	diff := tarOf(seed, n)
	return NewLayer(diff, diff, v1.MediaTypeImageLayer)
}

// Gzip returns the layer that Plain returns, compressed with gzip.
func Gzip(seed uint64, n int) Layer {
	diff := tarOf(seed, n)
	return NewLayer(diff, Gzipped(diff), v1.MediaTypeImageLayerGzip)
}

// Stored returns the layer that Plain returns, in a gzip file that compresses nothing: noise
// gets no smaller anyway, and the race detector makes compressing slow.
func Stored(seed uint64, n int) Layer {
	diff := tarOf(seed, n)
	return NewLayer(diff, gzippedAt(gzip.NoCompression, diff), v1.MediaTypeImageLayerGzip)
}

// Zstd returns the layer that Plain returns, compressed with zstd.
func Zstd(seed uint64, n int) Layer {
	diff := tarOf(seed, n)
	return NewLayer(diff, Zstandard(diff), v1.MediaTypeImageLayerZstd)
}

// Bzip2 returns a layer in the one compression that nothing in Go's reach can
// write: a tar of one empty file, in two streams one behind the other.
func Bzip2() Layer {
	blob, err := base64.StdEncoding.DecodeString(bzip2Blob)
	must(err)
	diff, err := io.ReadAll(bzip2.NewReader(bytes.NewReader(blob)))
	must(err)
	return NewLayer(diff, blob, v1.MediaTypeImageLayer)
}

const bzip2Blob = "" +
	"QlpoOTFBWSZTWfJGdVcAACBbiMiAQABlgAAIYgJeIEAAAAggAFRQAGjTTNQSmonqPUPSGmmmHyqg" +
	"Rdamw7ggUUGohiaMTU5iX0RjN/fAAXw74u5IpwoSHkjOquBCWmg5MUFZJlNZIb4plQAAAcQAwAAI" +
	"AAAIIAAgqm1BmLqDxdyRThQkCG+KZUA="

// In returns a layer with the same content in another form.
func (l Layer) In(compress func([]byte) []byte, mediaType string) Layer {
	return NewLayer(l.Diff, compress(l.Diff), mediaType)
}

// InGzip returns a layer with the same content, compressed with gzip.
func (l Layer) InGzip() Layer { return l.In(Gzipped, v1.MediaTypeImageLayerGzip) }

// DiffID returns the digest of the uncompressed layer.
func (l Layer) DiffID() digest.Digest { return digest.FromBytes(l.Diff) }

// tarOf returns a layer's tar with one file of n bytes, which compress to about
// half and depend on the seed.
func tarOf(seed uint64, n int) []byte {
	data := make([]byte, n)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range data {
		data[i] = byte(rng.Uint32()) & 0x1f
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(w.WriteHeader(&tar.Header{Name: fmt.Sprintf("file-%d", seed), Mode: 0o644, Size: int64(n)}))
	_, err := w.Write(data)
	must(err)
	must(w.Close())
	return b.Bytes()
}

// must is for calls that cannot fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Gzipped compresses data with gzip.
func Gzipped(data []byte) []byte { return gzippedAt(gzip.DefaultCompression, data) }

func gzippedAt(level int, data []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	must(err)
	_, err = w.Write(data)
	must(err)
	must(w.Close())
	return b.Bytes()
}

// Zstandard compresses data with zstd.
func Zstandard(data []byte) []byte {
	w, err := zstd.NewWriter(nil)
	must(err)
	defer w.Close()
	return w.EncodeAll(data, nil)
}

// XZ compresses data with xz.
func XZ(data []byte) []byte {
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	must(err)
	_, err = w.Write(data)
	must(err)
	must(w.Close())
	return b.Bytes()
}
