package writing

import (
	"context"
	"io"
	"regexp"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// rest is a blob that a change which was killed has left behind the end of an archive,
// complete and as its digest says.
type rest struct {
	blob storedBlob
	tarfile.Rest
}

// adopt takes over what an earlier change has left, as if it had been put now. What of it
// no image needs is moved out of the way of what is written, and cut off in the end.
func (a *Archive) adopt(ctx context.Context, plan [][]image.Blob) error {
	rests, err := a.old.rests(ctx, func(d digest.Digest) bool {
		return len(plan) == 0 || a.layout.Unpacks() || inPlan(plan, d)
	})
	if err != nil {
		return err
	}
	w := a.tar.(*tarfile.FileWriter) // Streams are not changed.
	for _, r := range rests {
		entry, err := w.Adopt(r.Offset, r.Span())
		if err != nil {
			return err
		}
		r.blob.entry = entry
		a.blobs.keep(r.blob)
		a.debugf("%s, %d bytes, is there from a change that was not completed", r.Name, r.Size)
	}
	return nil
}

func inPlan(plan [][]image.Blob, d digest.Digest) bool {
	for _, blobs := range plan {
		for _, b := range blobs {
			if b.Digest == d {
				return true
			}
		}
	}
	return false
}

// encoded is what in the name of an entry may be a digest.
var encoded = regexp.MustCompile(`[0-9a-f]{64}`)

// rests returns the blobs behind the end of the archive of which wanted says that they
// matter, in the order of the file. They are read, so that nothing has to be believed.
func (e *Existing) rests(ctx context.Context, wanted func(digest.Digest) bool) (all []rest, err error) {
	if e.from > e.tail.End { // There is nothing but padding.
		return nil, nil
	}
	file, size := e.out.File(), e.out.Size()
	seen := map[digest.Digest]bool{}
	// Whoever made up headers that speak of all that follows would have it read as often
	// as there are headers.
	budget := 2 * (size - e.from)
	err = tarfile.Rests(ctx, file, e.from, size, func(r tarfile.Rest) (bool, error) {
		d := digest.NewDigestFromEncoded(digest.Canonical, encoded.FindString(r.Name))
		if d.Validate() != nil || e.layout.BlobName(d) != r.Name || budget < r.Size {
			return false, nil
		}
		header, err := e.layout.BlobHeader(d, r.Size)
		if err != nil {
			return false, err
		}
		if same, err := r.HeaderIs(file, header); !same || err != nil {
			return false, err
		}
		_, have := e.find(d)
		if have || seen[d] || !wanted(d) {
			return false, nil
		}
		budget -= r.Size
		content := &contextReader{ctx, r.Content(file)}
		got, err := digest.Canonical.FromReader(content)
		if err != nil || got != d {
			return false, err
		}
		prefix := make([]byte, compression.PrefixLen)
		n, err := r.Content(file).ReadAt(prefix, 0)
		if err != nil && err != io.EOF {
			return false, err
		}
		seen[d] = true
		all = append(all, rest{storedBlob{digest: d, size: r.Size, algorithm: compression.Detect(prefix[:n])}, r})
		return true, nil
	})
	return all, err
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
