package parts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// List describes all parts of an archive. It stands at the end of the last one.
type List struct {
	// Size is how many bytes the archive has. Behind them, up to the list, are zeros.
	Size int64 `json:"size"`
	// Parts are the parts, in their order. All but the last have the same size.
	Parts []Part `json:"parts"`
}

// Part describes a part or, for the last one, its bytes before the list.
type Part struct {
	// Size is how many bytes it has.
	Size int64 `json:"size"`
	// Digest is that of all of them.
	Digest digest.Digest `json:"digest"`
	// Ends is the digest of the first and the last EndSize bytes, in this order, or
	// of all if there are no more. It tells quickly one part from another.
	Ends digest.Digest `json:"ends"`
}

// EndSize is how many bytes Part.Ends is of, at either end.
const EndSize = 4096

const (
	blockSize = 512
	// magic begins the last block of the list. The length of the JSON and its SHA-256
	// follow.
	magic = "docker-archive parts 1"
	// maxDocument is how long the JSON may be.
	maxDocument = MinSize - 2*blockSize
)

// Encode returns the end of the last part: the list as JSON, zeros up to a multiple of
// 512 bytes, and a block by which it is found.
func (l *List) Encode() ([]byte, error) {
	document, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	if len(document) > maxDocument {
		return nil, fmt.Errorf("internal error: a list of parts of %d bytes", len(document))
	}
	return frame(document), nil
}

// frame makes the result of Encode from the JSON.
func frame(document []byte) []byte {
	b := make([]byte, encodedSize(len(document)))
	copy(b, document)
	copy(b[len(b)-blockSize:], fmt.Sprintf("%s %d %x\n", magic, len(document), sha256.Sum256(document)))
	return b
}

func encodedSize(document int) int {
	return (document+blockSize-1)/blockSize*blockSize + blockSize
}

// Read returns the list that the size bytes of r end with, or nil if there is none. The
// error wraps errdef.ErrDamaged if the list has been changed.
func Read(r io.ReaderAt, size int64) (*List, error) {
	if size < blockSize {
		return nil, nil
	}
	block := make([]byte, blockSize)
	if err := readAt(r, block, size-blockSize); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(block, []byte(magic+" ")) {
		return nil, nil
	}
	var length int
	if _, err := fmt.Sscanf(string(block), magic+" %d ", &length); err != nil || length < 0 || length > maxDocument || int64(encodedSize(length)) > size {
		return nil, damaged("its list of parts has no valid end")
	}
	framed := make([]byte, encodedSize(length))
	if err := readAt(r, framed, size-int64(len(framed))); err != nil {
		return nil, err
	}
	document := framed[:length]
	if !bytes.Equal(framed, frame(document)) {
		return nil, damaged("its list of parts is not what its SHA-256 says")
	}
	l := &List{}
	if err := json.Unmarshal(document, l); err != nil {
		return nil, damaged("its list of parts: %w", err)
	}
	last := len(l.Parts) - 1
	if last >= 0 && l.Parts[last].Size != size-int64(encodedSize(length)) {
		return nil, damaged("it has %d bytes before its list of parts and should have %d", size-int64(encodedSize(length)), l.Parts[last].Size)
	}
	return l, l.check()
}

// check fails if the list contradicts itself.
func (l *List) check() error {
	if len(l.Parts) == 0 || len(l.Parts) > Max {
		return damaged("its list is of %d parts", len(l.Parts))
	}
	before, last := l.Parts[:len(l.Parts)-1], l.Parts[len(l.Parts)-1]
	total := last.Size
	for _, p := range before {
		if p.Size < MinSize || p.Size > 1<<52 || p.Size != before[0].Size {
			return damaged("its list has parts of wrong sizes")
		}
		total += p.Size
	}
	if last.Size < 0 || l.Size < 0 || l.Size > total {
		return damaged("the parts in its list have %d bytes, and the archive %d", total, l.Size)
	}
	for _, p := range l.Parts {
		if p.Digest.Validate() != nil || p.Ends.Validate() != nil {
			return damaged("its list has no digest of a part")
		}
	}
	return nil
}

// Ends returns the digest for Part.Ends of the first size bytes of r.
func Ends(r io.ReaderAt, size int64) (digest.Digest, error) {
	first := make([]byte, min(size, EndSize))
	last := make([]byte, min(size-int64(len(first)), EndSize))
	if err := readAt(r, first, 0); err != nil {
		return "", err
	}
	if err := readAt(r, last, size-int64(len(last))); err != nil {
		return "", err
	}
	return digest.FromBytes(append(first, last...)), nil
}

// readAt fills p.
func readAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func damaged(format string, args ...any) error {
	return errdef.Errorf(errdef.ErrDamaged, format, args...)
}

// Digest returns the digest for Part.Digest of the first size bytes of r. It ends
// early, with the cause, when ctx does.
func Digest(ctx context.Context, r io.ReaderAt, size int64) (digest.Digest, error) {
	h := sha256.New()
	buf := make([]byte, min(size, 256<<10))
	for off := int64(0); off < size; off += int64(len(buf)) {
		if err := context.Cause(ctx); err != nil {
			return "", err
		}
		buf = buf[:min(size-off, int64(len(buf)))]
		if err := readAt(r, buf, off); err != nil {
			return "", err
		}
		h.Write(buf) // Never fails.
	}
	return digest.NewDigest(digest.SHA256, h), nil
}
