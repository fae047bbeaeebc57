package writing

import (
	"bytes"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// What is written is what verify accepts, as far as that can be known at the speed of
// writing. To unpack a compressed layer, and hash what becomes of it, takes three times as
// long as to hash and write it. So small layers are unpacked, which costs nothing that
// can be measured, and large ones are stored as they come.

const (
	// maxExamined is how many bytes a compressed layer may have that is unpacked to see
	// whether that can be done.
	maxExamined = 1 << 20
	// maxUnpacked is how much of it, in bytes.
	maxUnpacked = 64 << 20
	// tarBlock is what tells a tar archive from something else, in bytes.
	tarBlock = 512
)

// content is what is known of a blob, should it be a layer. The zero value is nothing.
type content struct {
	broken error         // it is compressed, and cannot be unpacked, or what that gives is no tar
	diffID digest.Digest // "" if it is not known
}

// check returns why a blob cannot be a layer of a diff ID.
func (c content) check(d, diffID digest.Digest) error {
	switch {
	case c.broken != nil:
		return errdef.Errorf(errdef.ErrDamaged, "layer %s %w", d, c.broken)
	case diffID.Algorithm() != digest.Canonical && diffID != d:
		return errdef.Errorf(errdef.ErrDamaged, "layer %s has the diff ID %s in the config, which is no %s digest: nobody compares those", d, diffID, digest.Canonical)
	case c.diffID != "" && diffID.Algorithm() == digest.Canonical && c.diffID != diffID:
		return errdef.Errorf(errdef.ErrDamaged, "layer %s has the diff ID %s, but the config says %s", d, c.diffID, diffID)
	}
	return nil
}

// beginning keeps what a blob begins with.
type beginning struct {
	data []byte
	size int64 // of the blob so far
	keep int
}

func newBeginning(algorithm compression.Algorithm) *beginning {
	if algorithm == compression.None {
		return &beginning{keep: tarBlock}
	}
	return &beginning{keep: maxExamined}
}

// Write implements io.Writer.
func (b *beginning) Write(p []byte) (int, error) {
	b.size += int64(len(p))
	b.data = append(b.data, p[:min(len(p), b.keep-len(b.data))]...)
	return len(p), nil
}

// content returns what is known of the whole.
func (b *beginning) content(algorithm compression.Algorithm) content {
	switch {
	case b.size == 0: // Whatever its media type says.
		return content{diffID: digest.Canonical.FromBytes(nil)}
	case algorithm == compression.None:
		return content{broken: asTar(b.data)}
	case b.size > int64(len(b.data)):
		return content{}
	}
	return examine(bytes.NewReader(b.data), algorithm)
}

// contentOf is beginning.content for a blob that is there.
func contentOf(r *io.SectionReader, algorithm compression.Algorithm) content {
	if algorithm != compression.None && r.Size() > maxExamined {
		return content{}
	}
	b := newBeginning(algorithm)
	if _, err := io.Copy(b, io.LimitReader(r, int64(b.keep))); err != nil {
		return content{} // Who reads it is told.
	}
	b.size = r.Size()
	return b.content(algorithm)
}

// examine unpacks a layer.
func examine(r io.Reader, algorithm compression.Algorithm) content {
	stream, err := compression.NewReader(r, algorithm)
	if err != nil {
		return content{broken: notUnpacked(err)}
	}
	defer stream.Close() // It has been read.
	hash := digest.Canonical.Hash()
	start := &beginning{keep: tarBlock}
	n, err := io.Copy(io.MultiWriter(hash, start), io.LimitReader(stream, maxUnpacked))
	switch {
	case err != nil:
		return content{broken: notUnpacked(err)}
	case n == maxUnpacked:
		return content{}
	}
	return content{broken: asTar(start.data), diffID: digest.NewDigest(digest.Canonical, hash)}
}

func notUnpacked(err error) error { return fmt.Errorf("cannot be unpacked: %w", err) }

var errNoTar = fmt.Errorf("is no tar archive: it does not begin with a tar header")

// checkTables fails for tables of contents that no reader would take.
func checkTables(files []tarfile.Small) error {
	for _, f := range files {
		if err := catalog.CheckTable(f.Header.Name, f.Data); err != nil {
			return err
		}
	}
	return nil
}

// asTar returns errNoTar for the first bytes of what is none.
func asTar(start []byte) error {
	if !tarfile.IsTar(start) {
		return errNoTar
	}
	return nil
}
