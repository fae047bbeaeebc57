// Package fetching fetches blobs from their sources: which from where, when, again after
// errors that may pass, from another image that has them, and verified. It knows nothing
// of archives, their formats, or what blobs are stored in.
package fetching

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/progress"
)

// Source is where the blobs of an image are.
type Source interface {
	// Open returns the content of a blob from offset, in bytes, on. It and what it
	// returns should end with ctx; if they do not, they are left behind.
	Open(ctx context.Context, blob v1.Descriptor, offset int64) (io.ReadCloser, error)
}

// Image is an image whose blobs are fetched. If one of them cannot be, it fails as
// a whole.
type Image struct {
	source Source
	name   string // for events
	wrap   func(error) error
	err    error // why it failed; guarded by the fetcher's mutex

	refused atomic.Bool // ranges of it are, which says nothing of the host

	hostMu   sync.Mutex
	host     *host // that hostOf returned last, and its name
	hostName string
}

// Blob is a blob, fetched once for all images that need it.
type Blob struct {
	image.Blob
	images []*Image // in their order

	done chan struct{} // closed when err is set
	err  error
}

// StoredSource is a Source that knows where blobs are stored.
type StoredSource interface {
	// Stored returns the bytes that Open returns, in their place; nil if they are in none.
	Stored(ctx context.Context, d digest.Digest) *io.SectionReader
}

// Stored returns a file that has the blob at an offset, if all images get it from there, else nil.
func (b *Blob) Stored(ctx context.Context) (file io.ReaderAt, off int64) {
	for i, img := range b.images {
		source, ok := img.source.(StoredSource)
		if !ok {
			return nil, 0
		}
		at := source.Stored(ctx, b.Digest)
		if at == nil {
			return nil, 0
		}
		f, o := outermost(at)
		if i > 0 && (f != file || o != off) {
			return nil, 0
		}
		file, off = f, o
	}
	return file, off
}

// outermost returns the file that a section is of, and where it begins.
func outermost(at *io.SectionReader) (file io.ReaderAt, off int64) {
	type section interface {
		Outer() (io.ReaderAt, int64, int64)
	}
	file, off, _ = at.Outer()
	for {
		inner, ok := file.(section)
		if !ok {
			return file, off
		}
		var begins int64
		file, begins, _ = inner.Outer()
		off += begins
	}
}

// Options are how blobs are fetched.
type Options struct {
	// Jobs is how many blobs are read at the same time, or ranges of them: a blob that
	// begins while all are busy with ranges is one more until the first of these ends.
	Jobs int
	// Patience is for how long a blob's own line shows its rate before ranges of a
	// RangeSource may help it; 0 means the constant.
	Patience time.Duration
	// RangeSize is the size of these ranges, in bytes; 0 means the constant. With many
	// jobs it is smaller, so that all ranges together take no more memory than those of six.
	RangeSize int
	// Buffers is how many ranges are kept before their turn, besides the one that each blob
	// has for itself; 0 means four more than jobs, but no more than 16.
	Buffers int
	// Hosts, if not nil, is what others have learnt of hosts, and learn from this Fetcher.
	Hosts *Hosts
	// Busy, if not nil, reports whether an error asks for fewer requests at once.
	Busy func(error) bool
	// KeepGoing fetches the blobs of other images when one image fails.
	KeepGoing bool
	// Backoff returns what decides on trying again, new for every source of a blob.
	Backoff func() *retry.Backoff
	// Kept, if not nil, returns the part of a blob that is here already, from its start
	// on, or nil. It is verified with the rest, which alone is fetched; if it turns out to
	// be something else, all of the blob is.
	Kept func(ctx context.Context, blob *Blob) io.Reader
	// Store takes a blob. It reads r, which verifies the blob at its end, to its end.
	Store func(ctx context.Context, blob *Blob, r io.Reader) error
	// Fatal reports whether an error of Store is the end of all images, because it
	// is not the blob's.
	Fatal func(error) bool
	// Progress, if not nil, is told what happens. It is called concurrently.
	Progress func(progress.Event)
}

// ErrSource is found in errors of a source, as opposed to those of Store.
var ErrSource = errors.New("reading it failed")

// ErrMismatch is found in the error for a blob with a wrong digest or size.
var ErrMismatch = errors.New("digest does not match")

// errNotNeeded is the result for a blob that only failed images have.
var errNotNeeded = errors.New("no image needs it")

// Fetcher fetches the blobs of any number of images. Images and blobs are added
// first; after that all methods may be called concurrently.
type Fetcher struct {
	options  Options
	blobs    []*Blob // distinct, in their order
	byDigest map[digest.Digest]*Blob
	lines    lines
	buffers  buffers
	ranged   atomic.Bool

	mu sync.Mutex // for the errors of images
}

// New returns a Fetcher without images.
func New(o Options) *Fetcher {
	if o.Progress == nil {
		o.Progress = func(progress.Event) {}
	}
	if o.Hosts == nil {
		o.Hosts = new(Hosts)
	}
	if o.Busy == nil {
		o.Busy = func(error) bool { return false }
	}
	if o.Kept == nil {
		o.Kept = func(context.Context, *Blob) io.Reader { return nil }
	}
	if o.Patience <= 0 {
		o.Patience = Patience
	}
	if o.RangeSize <= 0 {
		o.RangeSize = RangeSize
	}
	if o.Buffers <= 0 {
		o.Buffers = min(o.Jobs+early, maxBuffers)
	}
	// One for each blob that is read, and those for all.
	o.RangeSize = min(o.RangeSize, max(rangesMemory/max(o.Jobs+o.Buffers, 1), minRange))
	return &Fetcher{
		options: o, byDigest: map[digest.Digest]*Blob{},
		lines:   lines{max: o.Jobs},
		buffers: buffers{left: o.Buffers, size: o.RangeSize},
	}
}

// AddImage adds an image. name is what events call it, and wrap makes its errors say which
// image it is.
func (f *Fetcher) AddImage(source Source, name string, wrap func(error) error) *Image {
	return &Image{source: source, name: name, wrap: wrap}
}

// Need says that an image needs a blob, and returns the one to wait for.
func (f *Fetcher) Need(img *Image, b image.Blob) *Blob {
	blob, ok := f.byDigest[b.Digest]
	if !ok {
		blob = &Blob{Blob: b, done: make(chan struct{})}
		f.byDigest[b.Digest] = blob
		f.blobs = append(f.blobs, blob)
	}
	if b.Kind == image.KindConfig {
		blob.Kind = b.Kind // An image needs it in memory, whatever others call it.
	}
	if n := len(blob.images); n == 0 || blob.images[n-1] != img {
		blob.images = append(blob.images, img)
	}
	return blob
}

// Blobs returns all distinct blobs in the order in which they were first needed.
func (f *Fetcher) Blobs() []*Blob { return f.blobs }

// LastNeededBy reports whether no image after img needs the blob.
func (b *Blob) LastNeededBy(img *Image) bool { return b.images[len(b.images)-1] == img }

// Fail records why an image failed. It returns that, if it is the end of the other
// images too.
func (f *Fetcher) Fail(img *Image, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if img.err == nil {
		img.err = img.wrap(err)
	}
	if f.options.KeepGoing {
		return nil
	}
	return img.err
}

// Ranged reports whether a part of some blob was asked for, instead of all of it.
func (f *Fetcher) Ranged() bool { return f.ranged.Load() }

// Distrust is for callers of Open who verify blobs, and found a wrong one: no more ranges come
// from the host of an image, for they may be why.
func (f *Fetcher) Distrust(img *Image) { f.hostOf(img).end() }

// Err returns why an image failed, or nil.
func (f *Fetcher) Err(img *Image) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return img.err
}

func (f *Fetcher) failed(img *Image) bool { return f.Err(img) != nil }

// Start has g fetch blobs, beginning with them in the order given. An error is one
// that is the end of everything, for which ctx should be the group's.
func (f *Fetcher) Start(ctx context.Context, g *errgroup.Group, order []*Blob) {
	var next atomic.Int64
	for range min(f.options.Jobs, len(order)) {
		g.Go(func() error {
			f.lines.begin() // One line for blob after blob: no other worker takes it between.
			defer f.lines.end()
			for {
				i := int(next.Add(1)) - 1
				if i >= len(order) {
					return nil
				}
				if err := f.fetch(ctx, order[i]); err != nil {
					return err
				}
			}
		})
	}
}

// Fetch fetches one blob, which must be done once only. The error is one that is
// the end of everything; for what became of the blob, ask Await.
func (f *Fetcher) Fetch(ctx context.Context, blob *Blob) error {
	f.lines.begin()
	defer f.lines.end()
	return f.fetch(ctx, blob)
}

func (f *Fetcher) fetch(ctx context.Context, blob *Blob) error {
	defer close(blob.done)
	images := slices.DeleteFunc(slices.Clone(blob.images), f.failed)
	if len(images) == 0 {
		blob.err = errNotNeeded
		return nil
	}
	started := progress.Event{Kind: progress.Started, Blob: blob.Digest, Size: blob.Size}
	if len(blob.images) == 1 {
		started.Image = blob.images[0].name
	}
	f.options.Progress(started)
	blob.err = f.fetchFrom(ctx, blob, images)
	f.options.Progress(progress.Event{Kind: progress.Finished, Blob: blob.Digest, Size: blob.Size, Err: blob.err})
	if blob.err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if f.Fatal(blob.err) {
		return blob.err
	}
	for _, img := range images {
		if err := f.Fail(img, blob.err); err != nil {
			return err
		}
	}
	return nil
}

// Fatal reports whether an error is the end of all images.
func (f *Fetcher) Fatal(err error) bool {
	return !errors.Is(err, ErrSource) && f.options.Fatal(err)
}

// fetchFrom fetches a blob from the first image that has it, or else the next. It starts
// over only if the content turned out to be wrong. It tries the same image again if the
// blob was read in ranges or a part of it was kept, for that may be why.
func (f *Fetcher) fetchFrom(ctx context.Context, blob *Blob, images []*Image) error {
	whole, kept := false, f.options.Kept(ctx, blob)
	var suspects []*host // that ranges of a wrong blob came from
	for {
		r := newReader(ctx, f, blob, images)
		r.whole, r.kept = whole, kept
		r.verifies()
		err := f.options.Store(ctx, blob, r)
		images = r.close()
		if errors.Is(err, ErrMismatch) && len(images) > 0 && kept != nil && ctx.Err() == nil {
			kept = nil
			continue
		}
		if errors.Is(err, ErrMismatch) && len(images) > 0 && len(r.parts) > 0 && !whole && ctx.Err() == nil {
			whole, suspects = true, r.parts
			continue
		}
		if err == nil {
			for _, h := range suspects { // Without their ranges it is right.
				h.end()
			}
		}
		if !errors.Is(err, ErrMismatch) || len(images) < 2 || ctx.Err() != nil {
			return err
		}
		images, whole, suspects = images[1:], false, nil
	}
}

// Await returns when a blob has been fetched, and what became of it.
func (b *Blob) Await(ctx context.Context) error {
	select {
	case <-b.done:
		return b.err
	default:
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Fetched reports whether a blob has been fetched, or its fetching has failed.
func (b *Blob) Fetched() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// mismatch returns an error for a blob with wrong content.
func mismatch(format string, args ...any) error {
	return &sourceError{fmt.Errorf("%w: %w", fmt.Errorf(format, args...), ErrMismatch)}
}
