package delta

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// magic begins every delta. Its last byte is the version.
const magic = "layerdlt" + "\x01"

const (
	maxHeader   = 64 << 10
	checkSize   = 8    // of the header's checksum
	maxBases    = 256  // of one delta
	maxRatio    = 1032 // the most that deflate expands
	sizeLimit   = 1 << 50
	fixedHeader = len(magic) + 4
)

// Form is how a blob is compressed.
type Form uint8

// Forms of blobs. A gzip file that is not valid is Plain: its bytes are its text.
const (
	Plain Form = iota
	Gzip
	Zstd // as a base only; as a target it is Plain
)

// Digest is a SHA-256.
type Digest [sha256.Size]byte

// Blob describes the target of a delta, or a base.
type Blob struct {
	Form   Form
	Size   int64
	Digest Digest
	// Size and digest of the text, the decompressed blob. Those of a layer are the
	// size of its tar file and its diff ID. Those of a plain blob are Size and
	// Digest.
	TextSize   int64
	TextDigest Digest
}

// Header describes a delta.
type Header struct {
	Target    Blob
	Bases     []Blob // in the order for Apply
	Predictor Predictor
	sizes     [numStreams]streamSize
}

// NeedsCompressedBases reports whether the bases must be the very files that the
// delta was made from. Else any files with the same text do, whether and however
// they are compressed.
func (h *Header) NeedsCompressedBases() bool { return h.Predictor == OldTokens }

func appendBlob(b []byte, x *Blob) []byte {
	b = append(b, byte(x.Form))
	b = binary.AppendUvarint(b, uint64(x.Size))
	b = append(b, x.Digest[:]...)
	if x.Form != Plain {
		b = binary.AppendUvarint(b, uint64(x.TextSize))
		b = append(b, x.TextDigest[:]...)
	}
	return b
}

// encode returns the beginning of a delta's file, up to its streams.
func (h *Header) encode() []byte {
	b := append([]byte(magic), 0, 0, 0, 0)
	b = append(b, byte(h.Predictor))
	b = appendBlob(b, &h.Target)
	b = binary.AppendUvarint(b, uint64(len(h.Bases)))
	for i := range h.Bases {
		b = appendBlob(b, &h.Bases[i])
	}
	for _, s := range h.sizes {
		b = binary.AppendUvarint(b, uint64(s.raw))
		b = binary.AppendUvarint(b, uint64(s.stored))
	}
	binary.LittleEndian.PutUint32(b[len(magic):], uint32(len(b)-fixedHeader))
	sum := sha256.Sum256(b)
	return append(b, sum[:checkSize]...)
}

// headerReader takes a header apart. The first error stays.
type headerReader struct {
	b   *bytes.Reader
	bad bool
}

func (r *headerReader) byte() byte {
	v, err := r.b.ReadByte()
	r.bad = r.bad || err != nil
	return v
}

func (r *headerReader) size() int64 {
	v, err := binary.ReadUvarint(r.b)
	if err != nil || v > sizeLimit {
		r.bad = true
		return 0
	}
	return int64(v)
}

func (r *headerReader) digest() (d Digest) {
	_, err := io.ReadFull(r.b, d[:])
	r.bad = r.bad || err != nil
	return d
}

func (r *headerReader) blob() (x Blob) {
	x.Form, x.Size, x.Digest = Form(r.byte()), r.size(), r.digest()
	x.TextSize, x.TextDigest = x.Size, x.Digest
	if x.Form != Plain {
		x.TextSize, x.TextDigest = r.size(), r.digest()
	}
	return x
}

// readHeader reads a header from the beginning of a delta, and returns how much it
// takes.
func readHeader(r io.ReaderAt) (*Header, int64, error) {
	start := make([]byte, fixedHeader)
	if err := readAt(r, start, 0); err != nil {
		return nil, 0, err
	}
	if name := len(magic) - 1; string(start[:name]) != magic[:name] {
		return nil, 0, fmt.Errorf("%w: not a delta", ErrDamaged)
	}
	if v := start[len(magic)-1]; v != magic[len(magic)-1] {
		return nil, 0, fmt.Errorf("%w: %d", ErrVersion, v)
	}
	n := binary.LittleEndian.Uint32(start[len(magic):])
	if n > maxHeader {
		return nil, 0, fmt.Errorf("%w: header of %d bytes", ErrDamaged, n)
	}
	b := make([]byte, fixedHeader+int(n)+checkSize)
	if err := readAt(r, b, 0); err != nil {
		return nil, 0, err
	}
	end := len(b) - checkSize
	if sum := sha256.Sum256(b[:end]); !bytes.Equal(sum[:checkSize], b[end:]) {
		return nil, 0, fmt.Errorf("%w: checksum of the header", ErrDamaged)
	}
	h, err := parseHeader(b[fixedHeader:end])
	return h, int64(len(b)), err
}

func parseHeader(b []byte) (*Header, error) {
	r := &headerReader{b: bytes.NewReader(b)}
	h := &Header{Predictor: Predictor(r.byte()), Target: r.blob()}
	bases := r.size()
	if bases > maxBases {
		return nil, fmt.Errorf("%w: %d bases", ErrDamaged, bases)
	}
	for range bases {
		h.Bases = append(h.Bases, r.blob())
	}
	for i := range h.sizes {
		h.sizes[i] = streamSize{r.size(), r.size()}
	}
	if r.bad || r.b.Len() > 0 {
		return nil, fmt.Errorf("%w: header", ErrDamaged)
	}
	return h, h.check()
}

// check reports values that no delta has.
func (h *Header) check() error {
	if !h.Predictor.known() {
		return fmt.Errorf("%w: predictor %d", ErrVersion, h.Predictor)
	}
	if h.Target.Form > Gzip || (h.Target.Form == Plain) != (h.Predictor == NoPredictor) ||
		h.Target.TextSize/maxRatio > h.Target.Size {
		return fmt.Errorf("%w: target", ErrDamaged)
	}
	total := int64(0)
	for _, b := range h.Bases {
		if total += b.TextSize; b.Form > Zstd || total > sizeLimit {
			return fmt.Errorf("%w: bases", ErrDamaged)
		}
	}
	return nil
}

// streamsSize is how large all streams are in the file.
func (h *Header) streamsSize() (n int64) {
	for _, s := range h.sizes {
		n += s.stored
	}
	return n
}

// readAt fills p from a delta.
func readAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: cut short", ErrDamaged)
	}
	return err
}
