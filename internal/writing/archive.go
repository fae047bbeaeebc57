// Package writing builds an archive: it tracks how far its images are, who delivers
// which blob, and the place of each. It does not know where blobs come from; it knows
// their owners only as tokens.
package writing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/spool"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// Options are how an archive is written.
type Options struct {
	// Layout is the kind of archive.
	Layout layout.Layout
	// Plan are the blobs of the images that will come, each image's in the order of an
	// archive that keeps them all; nil if nothing is known of them. It gives places only:
	// blobs are examined when they come. A blob whose digest is not known yet stands
	// there under another, for PutPlanned.
	Plan [][]image.Blob
	// TempDir is for temporary files that cannot be beside the archive; "" is the
	// system's directory for large ones.
	TempDir string
	// ReadEnd, if not nil, returns the last n bytes of a blob that is being put, if they
	// are available: some kinds of compression store the unpacked size there, so that
	// layers can be decompressed side by side into their places. Its errors are ignored.
	// It is called concurrently, and should end with ctx.
	ReadEnd func(ctx context.Context, d digest.Digest, n int) ([]byte, error)
	// Existing is the archive that images are added to; nil is for a new one. Layout
	// must be its own.
	Existing *Existing
	// Rests, if not nil, selects blobs to keep, by the digests under which they are
	// stored, from those that an unfinished run has left in the file. In that of a new
	// archive they are looked for only then.
	Rests func(stored digest.Digest) bool
}

// Archive is an archive that is being written. It must be ended by Close or Abort,
// after which nothing else may be called. Everything else may be called
// concurrently.
//
// In a regular file the images stand in the order in which NewImage returned them;
// on a stream, which cannot be put in order later, in the order in which they were
// committed, unless there is a plan.
type Archive struct {
	path   string // for errors
	out    *output.Output
	tar    tarfile.Writer
	layout layout.Layout
	blobs  *blobSet
	// Not changed after New:
	slots    map[digest.Digest]*tarfile.Slot // places of planned blobs
	examined map[digest.Digest]bool          // the planned layers that are unpacked if they are compressed, and those that are not
	mixed    bool                            // a planned layer may come in two compressions
	inOrder  bool                            // images are sealed in order, not as they are committed
	old      *Existing                       // nil for a new archive
	adopted  bool                            // blobs that were left in the file
	begun    int64                           // tar.Sealed() at the beginning
	readEnd  func(ctx context.Context, d digest.Digest, n int) ([]byte, error)
	unpack   func(io.Reader, compression.Algorithm) (io.ReadCloser, error)

	sealing lock // held while anything is sealed; before mu
	table   layout.Table
	listing *tarfile.Listing

	mu      sync.Mutex // never held for long
	planned []*Image   // that NewImage has not returned yet
	images  []*Image   // in their order
	next    int        // of the first in images that is not sealed; everything before it is
	closed  bool
	broken  error // names have been taken from images for nothing: the archive must not change
}

// New begins an archive in out, which it takes over: if it fails, out is aborted. path
// is the archive's name in errors.
func New(ctx context.Context, out *output.Output, path string, o Options) (*Archive, error) {
	dir := out.Dir()
	if dir == "" {
		dir = spool.Dir(o.TempDir)
	}
	if size, _, err := Space(o.Layout, o.Plan); err == nil { // Else the blob gets the error.
		out.Expect(size)
	}
	from := int64(0)
	if o.Existing != nil {
		from = o.Existing.from
		if err := o.Existing.begin(); err != nil {
			return nil, errors.Join(fmt.Errorf("adding to %s: %w", path, err), out.Abort())
		}
	}
	if out.Stream() {
		return newArchive(ctx, out, tarfile.NewStreamWriter(out.Writer(), dir), path, o)
	}
	return newArchive(ctx, out, tarfile.NewFileWriter(out.RandomAccess(), from, dir), path, o)
}

// Space returns how many bytes the blobs of a plan take in an archive, and whether all their sizes are known.
func Space(l layout.Layout, plan [][]image.Blob) (need int64, known bool, err error) {
	if l.Unpacks() {
		return 0, false, nil
	}
	known = true
	seen := map[digest.Digest]bool{}
	for _, blobs := range plan {
		for _, b := range blobs {
			if seen[b.Digest] {
				continue
			}
			seen[b.Digest] = true
			if b.Size < 0 {
				known = false
				continue
			}
			span, err := tarfile.Span(l.BlobName(b.Digest), b.Size)
			if err == nil && need > math.MaxInt64-span {
				err = tarfile.ErrTooLarge
			}
			if err != nil {
				return 0, false, fmt.Errorf("blob %s: %w", b.Digest, err)
			}
			need += span
		}
	}
	return need, known, nil
}

// newArchive is New for a container that is written to out in its own way.
func newArchive(ctx context.Context, out *output.Output, tar tarfile.Writer, path string, o Options) (*Archive, error) {
	a := &Archive{
		path:     path,
		out:      out,
		tar:      tar,
		layout:   o.Layout,
		blobs:    newBlobSet(),
		slots:    map[digest.Digest]*tarfile.Slot{},
		examined: toExamine(o.Plan),
		sealing:  newLock(),
		old:      o.Existing,
		readEnd:  o.ReadEnd,
		unpack:   compression.NewReader,
		begun:    tar.Sealed(),
	}
	if a.old != nil {
		a.table = a.old.table
		a.blobs.old = a.old.find
	} else {
		a.table = o.Layout.NewTable()
	}
	err := a.list()
	if err == nil {
		err = a.start(ctx, o)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("creating %s: %w", path, err), a.Abort())
	}
	return a, nil
}

// list tells the container which entries it will get, for a layout that has a listing
// of them.
func (a *Archive) list() (err error) {
	if _, ok := a.table.Notes(); !ok {
		return nil
	}
	a.listing = &tarfile.Listing{}
	if a.old != nil {
		a.listing, err = a.old.listing()
	}
	a.tar.Record(a.listing)
	return err
}

// start writes the beginning of the archive and reserves the places of the planned
// blobs.
func (a *Archive) start(ctx context.Context, o Options) error {
	if a.old == nil {
		head, err := a.table.Head()
		if err != nil {
			return err
		}
		if err := a.tar.Seal(ctx, nil, nil, tarfile.List(head...)); err != nil {
			return err
		}
		a.debugFiles(tarfile.List(head...))
	}
	if err := a.adopt(ctx, o); err != nil {
		return err
	}
	a.inOrder = !a.out.Stream() || len(o.Plan) > 0
	a.mixed = a.layout.Unpacks() && inSeveralForms(o.Plan)
	for _, blobs := range o.Plan {
		a.planned = append(a.planned, a.reserve(blobs))
	}
	return nil
}

// Path returns the archive's name in errors.
func (a *Archive) Path() string { return a.path }

// Layout returns the kind of archive.
func (a *Archive) Layout() layout.Layout { return a.layout }

// Concurrent reports whether blobs may be put at the same time without changing
// the bytes of the archive.
func (a *Archive) Concurrent() bool { return a.inOrder }

// Stream reports whether the archive is written from start to end and cannot be
// taken back.
func (a *Archive) Stream() bool { return a.out.Stream() }

// Undoable reports whether Abort leaves the path as it was.
func (a *Archive) Undoable() bool { return a.out.Undoable() }

// Close completes the archive with the images that were committed and makes it appear
// at its path. If none was, there is no archive, and that is no error. If it fails, or
// ctx ends before, the path is unchanged.
func (a *Archive) Close(ctx context.Context) error {
	if err := a.sealing.acquire(ctx); err != nil {
		return errors.Join(fmt.Errorf("closing %s: %w", a.path, err), a.Abort())
	}
	defer a.sealing.release()
	a.mu.Lock()
	closed := a.closed
	a.closed = true
	a.mu.Unlock()
	if closed {
		return fmt.Errorf("closing %s: %w", a.path, fs.ErrClosed)
	}
	complete, err := a.complete(ctx)
	if err != nil || !complete {
		a.tar.Abort()
		return errors.Join(err, a.out.Abort())
	}
	return a.out.Commit(ctx)
}

// complete writes all that is missing, and reports whether there is an archive at
// all. Nothing else happens to a closed archive, so it needs no lock.
func (a *Archive) complete(ctx context.Context) (bool, error) {
	for _, img := range slices.Concat(a.images[a.next:], a.planned) {
		if img.state != committed && img.state != sealed {
			if err := img.releaseAll(a.blobs); err != nil {
				return false, err
			}
		}
	}
	for _, img := range a.images[a.next:] {
		if img.state == committed {
			if err := a.seal(ctx, img); err != nil {
				return false, err
			}
		}
	}
	if a.broken != nil {
		return false, a.broken
	}
	if a.table.Empty() {
		return false, nil
	}
	referrers, err := a.table.RemoveOrphans(ctx, false)
	if err != nil {
		return false, fmt.Errorf("completing %s: %w", a.path, err)
	}
	if len(referrers) > 0 {
		logrus.Warnf("%s: %d referrers are removed, with the images that they are about", a.path, len(referrers))
	}
	files, err := a.tail()
	if err == nil && files == nil {
		return false, nil
	}
	if err == nil {
		err = checkTables(files)
	}
	if err == nil {
		files, err = withListing(files, a.table, a.listing)
	}
	if err == nil {
		err = a.tar.Seal(ctx, nil, nil, tarfile.List(files...))
	}
	if err == nil {
		err = a.tar.Close(ctx)
	}
	if err == nil && a.old != nil {
		err = a.old.change()
	}
	if err != nil {
		return false, fmt.Errorf("completing %s: %w", a.path, err)
	}
	a.debugFiles(tarfile.List(files...))
	return true, nil
}

// tail returns the files that the archive ends with, none if it is there already and
// nothing in it changes.
func (a *Archive) tail() ([]tarfile.Small, error) {
	if a.old == nil {
		return a.table.Tail()
	}
	files, err := a.old.files(a.table)
	if err != nil {
		return nil, err
	}
	if a.tar.Sealed() == a.begun && a.old.same(files) {
		return nil, nil
	}
	return files, nil
}

// Abort gives the archive up, with all committed images: the path is unchanged. It
// does nothing after Close.
func (a *Archive) Abort() error {
	a.tar.Abort() // Before the lock: it wakes goroutines that hold it.
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.sealing <- struct{}{}
	defer a.sealing.release()
	return a.out.Abort()
}

// lock is a mutex for which nobody has to wait longer than its context allows: its
// holder may be writing to a pipe that nobody drains.
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

func (l lock) acquire(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	default:
	}
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l lock) release() { <-l }
