// Package verify tests an archive's claims about its files by reading them, at
// the speed of the digests. It knows nothing of images.
package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// bufferSize is the unit of reading: small enough to be in the processor's cache
// when it is hashed.
const bufferSize = 256 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Claims reads all files that a claim is about, as many at once as there are
// processors, and returns the claims that do not hold, in the order given.
// progress, if not nil, is called, concurrently, with how many more bytes of the
// archive have been read. The error is that of ctx.
func Claims(ctx context.Context, claims []*catalog.Claim, progress func(bytes int)) (problems []error, err error) {
	if progress == nil {
		progress = func(int) {}
	}
	results := make([][]error, len(claims))
	// The largest first: if it came last, all but one processor would wait for it.
	order := make([]int, len(claims))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(claims[b].File.Size, claims[a].File.Size) })
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, i := range order {
		g.Go(func() error {
			results[i] = check(ctx, claims[i], progress)
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(results...), nil
}

// check reads one file.
func check(ctx context.Context, c *catalog.Claim, progress func(int)) []error {
	diffIDs := make([]digest.Digest, len(c.Layers))
	for i, l := range c.Layers {
		diffIDs[i] = l.DiffID()
	}
	stored := newDigests(slices.Concat(c.Stored, c.Any, diffIDs))
	unpacked := newDigests(slices.Concat(c.Any, diffIDs))
	if len(stored) == 0 {
		progress(int(c.File.Size))
		return nil // There is no claim about it.
	}
	content, err := c.Open(ctx)
	if err != nil {
		return []error{fmt.Errorf("%s: %w", printable.String(c.Name), err)}
	}
	defer content.Return()
	source := &countingReader{ctx, content.SectionReader, progress}
	prefix := make([]byte, compression.PrefixLen)
	n, err := content.ReadAt(prefix, 0)
	if err != nil && err != io.EOF {
		return []error{fmt.Errorf("reading %s: %w", printable.String(c.Name), err)}
	}
	algorithm := compression.Detect(prefix[:n])
	var unpackErr error
	start := &beginning{}
	switch {
	case algorithm == compression.None || len(unpacked) == 0:
		err = copyAll(io.MultiWriter(start, stored), source)
		unpacked = stored
	default:
		err, unpackErr = copyBoth(ctx, stored, io.MultiWriter(start, unpacked), source, algorithm)
	}
	if err != nil {
		return []error{fmt.Errorf("reading %s: %w", printable.String(c.Name), err)}
	}
	if unpackErr != nil { // There is nothing to compare.
		return append(compare(c, stored, nil), fmt.Errorf("reading %s: %w", printable.String(c.Name), unpackErr))
	}
	problems := compare(c, stored, unpacked)
	if len(c.Layers) > 0 && len(problems) == 0 && !tarfile.IsTar(start.data) {
		l := c.Layers[0]
		problems = append(problems, errdef.Errorf(errdef.ErrDamaged, "%s: layer %d, %s, is no tar archive: it does not begin with a tar header", l.Image, l.Layer, printable.String(c.Name)))
	}
	return problems
}

// beginning keeps as much of a file as tells whether it is a tar archive.
type beginning struct{ data []byte }

// Write implements io.Writer.
func (b *beginning) Write(p []byte) (int, error) {
	const enough = 512
	b.data = append(b.data, p[:min(len(p), enough-len(b.data))]...)
	return len(p), nil
}

// copyBoth hashes a compressed file as it is stored, and its unpacked content.
func copyBoth(ctx context.Context, stored, unpacked io.Writer, source io.Reader, algorithm compression.Algorithm) (err, unpackErr error) {
	ahead := async.NewReader(ctx, io.TeeReader(source, stored))
	defer ahead.Close()
	stream, unpackErr := compression.NewReader(ahead, algorithm)
	if unpackErr == nil {
		unpackErr = errors.Join(copyAll(unpacked, stream), stream.Close())
	}
	// The bytes that the decompressor left are part of the file all the same.
	_, err = io.Copy(io.Discard, ahead)
	return err, unpackErr
}

func copyAll(w io.Writer, r io.Reader) error {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, r, buf[:])
	return err
}

// compare returns which claims do not hold. unpacked is nil if the content could
// not be.
func compare(c *catalog.Claim, stored, unpacked digests) []error {
	var problems []error
	mismatch := func(want, got digest.Digest) {
		problems = append(problems, &errdef.MismatchError{Name: c.Name, Want: want, Got: got})
	}
	for _, want := range c.Stored {
		if got := stored.sum(want); got != want {
			mismatch(want, got)
		}
	}
	for _, want := range c.Any {
		if got := stored.sum(want); got != want && unpacked.sum(want) != want {
			mismatch(want, got)
		}
	}
	if len(problems) > 0 || unpacked == nil {
		return problems // Damaged content has wrong diff IDs too, which is not reported.
	}
	for _, l := range c.Layers {
		want := l.DiffID()
		if got := unpacked.sum(want); got != want {
			problems = append(problems, l.Wrong(c.Name, got, stored.sum(want)))
		}
	}
	return problems
}

// digests computes the digests of a stream by each algorithm asked for.
type digests map[digest.Algorithm]hash.Hash

func newDigests(wanted []digest.Digest) digests {
	d := digests{}
	for _, want := range wanted {
		if a := want.Algorithm(); d[a] == nil {
			d[a] = a.Hash()
		}
	}
	return d
}

// Write implements io.Writer.
func (d digests) Write(p []byte) (int, error) {
	for _, h := range d {
		h.Write(p) // Never fails.
	}
	return len(p), nil
}

// sum returns the digest by the algorithm of want, if it was computed.
func (d digests) sum(want digest.Digest) digest.Digest {
	h, ok := d[want.Algorithm()]
	if !ok {
		return ""
	}
	return digest.NewDigest(want.Algorithm(), h)
}

// countingReader reports the bytes that are read, and ends with its context.
type countingReader struct {
	ctx      context.Context
	r        io.Reader
	progress func(int)
}

// Read implements io.Reader.
func (r *countingReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	r.progress(n)
	return n, err
}
