package writing

import (
	"context"
	"io"
	"regexp"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// rest is a blob that an unfinished run has left in a file: behind the end of an archive
// a change that was killed, in a file of its own a new archive. It is complete, and
// matches its digest.
type rest struct {
	blob storedBlob
	tarfile.Rest
}

// adopt takes over the blobs that are left in the file, as if they had been put now.
// Those that no image needs are moved out of the way of new data, and cut off in the end.
func (a *Archive) adopt(ctx context.Context, o Options) error {
	if a.out.Stream() || a.old == nil && o.Rests == nil || a.old != nil && a.old.from > a.old.tail.End { // There is nothing but padding.
		return nil
	}
	w := a.tar.(*tarfile.FileWriter) // Streams are not changed.
	size, err := a.out.File().Size()
	if err != nil {
		return err
	}
	allocated, err := a.out.File().Allocated()
	if err != nil {
		return err
	}
	search := restSearch{
		file: a.out.File(), layout: a.layout, from: w.Sealed(), to: size,
		max: maxRests, stored: allocated + maxHoles, wanted: o.Rests,
	}
	if a.old != nil {
		search.wanted = func(d digest.Digest) bool {
			_, have := a.old.find(d)
			switch {
			case have:
				return false
			case o.Rests != nil:
				return o.Rests(d)
			}
			return len(o.Plan) == 0 || a.layout.Unpacks() || inPlan(o.Plan, d)
		}
	}
	rests, err := search.run(ctx)
	if err != nil {
		return err
	}
	end := w.Sealed()
	a.adopted = len(rests) > 0
	for _, r := range rests {
		entry, err := w.Adopt(r.Name, r.Offset, r.Size)
		if err != nil {
			return err
		}
		end = r.Offset + r.Span()
		r.blob.entry = entry
		if r.blob.algorithm, err = algorithmOf(r.Content(search.file)); err != nil {
			return err
		}
		limit := int64(0)
		if a.examines(r.blob.digest, r.Size) {
			limit = maxExamined
		}
		r.blob.content = contentOf(r.Content(search.file), r.blob.algorithm, r.blob.digest.Algorithm(), limit)
		a.blobs.keep(r.blob)
		a.debugf("%s, %d bytes, is there from a run that was not completed", r.Name, r.Size)
	}
	if a.old == nil { // Useless bytes take no space in a kept file.
		return a.out.File().Truncate(end)
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

// encoded matches a possible digest in the name of an entry.
var encoded = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[0-9a-f]{64}`) })

// maxSearches is how often a file is looked through again because a part that looked like
// a blob was none, and may hold some.
const maxSearches = 16

// maxRests is how many entries are read, which bounds the memory: an attacker's headers
// of empty blobs could be millions. 3,000 images of 20 layers stay below it.
const maxRests = 1 << 16

// maxHoles is how many bytes of holes are read as zeros: a minute's, and not those of an
// attacker's file of terabytes that takes no space.
const maxHoles = 64 << 30

// restSearch looks for complete blobs in a range of a file.
type restSearch struct {
	file     io.ReaderAt
	layout   layout.Layout
	from, to int64
	max      int   // entries that are read
	stored   int64 // bytes that may be there, and not be holes
	wanted   func(stored digest.Digest) bool

	mu      sync.Mutex
	checked map[int64]bool // whether the blob at an offset matches its digest
}

// run returns the blobs that are wanted, in the order of the file. They are read, so that
// nothing has to be believed; several at once, as if each matched its digest, and once
// more if one did not.
func (s *restSearch) run(ctx context.Context) (found []rest, err error) {
	s.checked = map[int64]bool{}
	// An attacker's headers that each claim all bytes behind them would have these read as
	// often as there are headers.
	budget := 2 * min(s.to-s.from, s.stored)
	for n := 0; ; n++ {
		if n == maxSearches {
			budget = -1
		}
		var fresh []rest
		found = nil
		seen := map[digest.Digest]bool{}
		err := tarfile.Rests(ctx, s.file, s.from, s.to, func(r tarfile.Rest) (bool, error) {
			good, known := s.checked[r.Offset]
			if known && !good || !known && (budget < r.Span() || len(s.checked)+len(fresh) >= s.max) {
				return false, nil
			}
			d, ok, err := s.says(r)
			if !ok || err != nil || seen[d] || !s.wanted(d) {
				return false, err
			}
			seen[d] = true
			x := rest{storedBlob{digest: d, size: r.Size}, r}
			found = append(found, x)
			if !known {
				budget -= r.Span()
				fresh = append(fresh, x)
			}
			return true, nil
		})
		if err != nil || len(fresh) == 0 {
			return found, err
		}
		if err := s.check(ctx, fresh); err != nil {
			return nil, err
		}
	}
}

// says returns the blob that an entry claims to be, if it has the place and form of a
// written one.
func (s *restSearch) says(r tarfile.Rest) (digest.Digest, bool, error) {
	d, err := digest.Parse(digest.Canonical.String() + ":" + encoded().FindString(r.Name))
	if err != nil || s.layout.BlobName(d) != r.Name {
		return "", false, nil
	}
	header, err := s.layout.BlobHeader(d, r.Size)
	if err != nil {
		return "", false, err
	}
	ok, err := r.FrameIs(s.file, header)
	return d, ok, err
}

// check finds out which blobs match their digests. One that cannot be read does not.
func (s *restSearch) check(ctx context.Context, rests []rest) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, r := range rests {
		g.Go(func() error {
			d, err := digest.Canonical.FromReader(async.WithContext(ctx, r.Content(s.file)))
			s.mu.Lock()
			defer s.mu.Unlock()
			s.checked[r.Offset] = err == nil && d == r.blob.digest
			return ctx.Err()
		})
	}
	return g.Wait()
}
