package writing

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// Writing accepts only content that verify accepts, as far as that can be known at the
// speed of writing. To unpack a compressed layer, and hash the result, takes three times
// as long as to hash and write it. So the smallest layers of an image are unpacked on their
// way into the archive, and the others are stored as they come. Sizes alone decide, so
// that an image that is refused once is refused always.

const (
	// maxExamined is how many bytes the compressed layers of an image may have together that
	// are unpacked to see whether that can be done; each of them, if nobody knows the others.
	maxExamined = 16 << 20
	// maxReexamined is how many bytes one may have that an archive has already.
	maxReexamined = 1 << 20
	// maxUnpacked is how much of it, in bytes.
	maxUnpacked = 128 << 20
	// tarBlock is the number of bytes that tell a tar archive from something else.
	tarBlock = 512
)

// toExamine returns which layers of planned images are to be unpacked: true for those, and
// false for the others. A layer of several images is if it is in one of them.
func toExamine(plan [][]image.Blob) map[digest.Digest]bool {
	examined := map[digest.Digest]bool{}
	for _, blobs := range plan {
		var layers []image.Blob
		for _, b := range blobs {
			if b.Kind == image.KindLayer && b.Size >= 0 {
				layers = append(layers, b)
			}
		}
		slices.SortFunc(layers, func(a, b image.Blob) int {
			return cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(a.Digest, b.Digest))
		})
		left := int64(maxExamined)
		for _, b := range slices.CompactFunc(layers, func(a, b image.Blob) bool { return a.Digest == b.Digest }) {
			left = max(left-b.Size, -1) // Once it is negative, it remains so.
			examined[b.Digest] = examined[b.Digest] || left >= 0
		}
	}
	return examined
}

// examines reports whether a compressed blob of a size, -1 if that is unknown, is to be unpacked.
func (a *Archive) examines(d digest.Digest, size int64) bool {
	if examined, planned := a.examined[d]; planned {
		return examined
	}
	return size <= maxExamined
}

// content has the known facts about a blob as a layer. The zero value is none.
type content struct {
	broken  error           // it is compressed, and cannot be unpacked, or its unpacked content is no tar
	diffIDs []digest.Digest // digests of the unpacked layer, by SHA-256 and by the algorithm of the blob; none if not known
}

// check returns why a blob cannot be a layer of a diff ID.
func (c content) check(d, diffID digest.Digest) error {
	switch {
	case c.broken != nil:
		return errdef.Errorf(errdef.ErrDamaged, "layer %s %w", d, c.broken)
	case diffID.Algorithm() != digest.Canonical && diffID.Algorithm() != d.Algorithm():
		return errdef.Errorf(errdef.ErrDamaged, "layer %s has the diff ID %s in the config, which is no %s digest: nobody compares those", d, diffID, digest.Canonical)
	}
	for _, known := range c.diffIDs {
		if known.Algorithm() == diffID.Algorithm() && known != diffID {
			return errdef.Errorf(errdef.ErrDamaged, "layer %s has the diff ID %s, but the config says %s", d, known, diffID)
		}
	}
	return nil
}

// examination examines a blob that is being written. It must be ended.
type examination struct {
	algorithm compression.Algorithm
	start     []byte // the first bytes of the blob
	size      int64  // of the blob so far

	pipe  *io.PipeWriter // to the unpacking; nil if there is none, or it has seen enough
	found chan content
}

// newExamination returns one that looks at the beginning of a blob with a digest by an
// algorithm, and unpacks all of it if it is compressed and unpack is set.
func newExamination(algorithm compression.Algorithm, by digest.Algorithm, unpack bool) *examination {
	x := &examination{algorithm: algorithm}
	if algorithm == compression.None || !unpack {
		return x
	}
	r, w := io.Pipe()
	x.pipe, x.found = w, make(chan content, 1)
	go func() {
		x.found <- examine(r, algorithm, by)
		_ = r.Close() // The rest is not looked at.
	}()
	return x
}

// Write implements io.Writer. It never fails. It waits for the unpacking to take all: the caller has
// read ahead meanwhile, and would wait for what is found in the end.
func (x *examination) Write(p []byte) (int, error) {
	x.size += int64(len(p))
	x.start = append(x.start, p[:min(len(p), tarBlock-len(x.start))]...)
	if x.pipe != nil {
		if _, err := x.pipe.Write(p); err != nil || x.size > maxExamined {
			x.end()
		}
	}
	return len(p), nil
}

// end ends the unpacking.
func (x *examination) end() {
	if x.pipe != nil {
		_ = x.pipe.Close()
		x.pipe = nil
	}
}

// content returns the known facts about the whole.
func (x *examination) content() content {
	x.end()
	switch {
	case x.size == 0: // With any media type.
		return content{diffIDs: []digest.Digest{digest.Canonical.FromBytes(nil)}}
	case x.algorithm == compression.None:
		return content{broken: asTar(x.start)}
	case x.found == nil, x.size > maxExamined:
		return content{}
	}
	return <-x.found
}

// contentOf is the content of a blob that is there, if it is not larger than max.
func contentOf(r *io.SectionReader, algorithm compression.Algorithm, by digest.Algorithm, max int64) content {
	if algorithm != compression.None && r.Size() <= max && r.Size() > 0 {
		return examine(io.NewSectionReader(r, 0, r.Size()), algorithm, by)
	}
	x := newExamination(algorithm, by, false)
	if _, err := io.Copy(x, io.LimitReader(io.NewSectionReader(r, 0, r.Size()), tarBlock)); err != nil {
		return content{} // Readers of the blob get the error.
	}
	return x.content()
}

// examine unpacks a layer that has a digest by an algorithm.
func examine(r io.Reader, algorithm compression.Algorithm, by digest.Algorithm) content {
	stream, err := compression.NewReader(r, algorithm)
	if err != nil {
		return content{broken: notUnpacked(err)}
	}
	defer stream.Close() // It has been read.
	start := newExamination(compression.None, by, false)
	digesters := []digest.Digester{digest.Canonical.Digester()}
	if by != digest.Canonical && by.Available() {
		digesters = append(digesters, by.Digester())
	}
	all := []io.Writer{start}
	for _, d := range digesters {
		all = append(all, d.Hash())
	}
	n, err := io.Copy(io.MultiWriter(all...), io.LimitReader(stream, maxUnpacked))
	switch {
	case err != nil:
		return content{broken: notUnpacked(err)}
	case n == maxUnpacked:
		return content{}
	}
	c := content{broken: asTar(start.start)}
	for _, d := range digesters {
		c.diffIDs = append(c.diffIDs, d.Digest())
	}
	return c
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

// asTar returns errNoTar if the first bytes are not those of a tar.
func asTar(start []byte) error {
	if !tarfile.IsTar(start) {
		return errNoTar
	}
	return nil
}
