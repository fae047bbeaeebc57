package dockerarchive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/spool"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// Errors that creating an archive returns, wrapped, and that a caller may want
// to tell apart.
var (
	// ErrNotEmpty means that there is a file with content at the path. It has
	// not been touched.
	ErrNotEmpty = output.ErrNotEmpty
	// ErrTerminal means that the archive would have been written to a terminal.
	ErrTerminal = output.ErrTerminal
)

// Writer writes any number of images to one archive, each distinct layer once.
//
// Images are copied to the references that NewReference returns, one after the
// other or at the same time. In a regular file they stand in the order in which
// their references were made; on a pipe, which cannot be put in order later, in
// the order in which they were committed, unless the Writer was told the plan
// (WithManifests).
//
// The archive appears at its path when Close succeeds, if at least one image was
// committed. All methods may be called concurrently, except that Close and Abort
// must come last.
type Writer struct {
	path      string
	sys       *types.SystemContext
	out       *output.Output
	tar       tarfile.Writer
	transport archiveTransport
	layout    layout
	blobs     *blobSet
	// Not changed after NewWriter:
	slots map[digest.Digest]*tarfile.Slot // places of planned blobs
	mixed bool                            // a planned layer may come in two compressions

	mu       sync.Mutex
	planned  []*archiveImage // for references that are still to be made
	images   []*archiveImage // in the order of their references
	inOrder  bool            // images are sealed in that order, not as they are committed
	contents contents
	closed   bool
}

// NewWriter returns a Writer of an archive at path. Nothing may be there, except
// for an empty file, which is replaced; a FIFO or a device, /dev/stdout included,
// is written as a stream. Large temporary files, which only streams and blobs
// that have to wait for their place need, are unnamed; they are beside the archive,
// or, of a stream, in sys.BigFilesTemporaryDir.
//
// It returns ErrNotEmpty or ErrTerminal, wrapped, where they say why. The caller
// must call Close or Abort.
func NewWriter(sys *types.SystemContext, path string, options ...WriterOption) (*Writer, error) {
	o := writerOptions{transport: Transport}
	for _, option := range options {
		option(&o)
	}
	if o.err != nil {
		return nil, fmt.Errorf("creating %s: %w", path, o.err)
	}
	out, err := output.Create(context.Background(), path)
	if err != nil {
		return nil, err
	}
	return newWriter(out, path, &o, sys)
}

// newWriter is NewWriter for an output that has been created. If it fails, the
// output is aborted.
func newWriter(out *output.Output, path string, o *writerOptions, sys *types.SystemContext) (*Writer, error) {
	w := &Writer{
		path:      path,
		sys:       sys,
		out:       out,
		transport: o.transport,
		layout:    o.transport.layout,
		blobs:     newBlobSet(),
		slots:     map[digest.Digest]*tarfile.Slot{},
		contents:  o.transport.layout.newContents(sys),
	}
	dir := out.Dir()
	if dir == "" {
		if sys != nil {
			dir = sys.BigFilesTemporaryDir
		}
		dir = spool.Dir(dir)
	}
	if out.Stream() {
		w.tar = tarfile.NewStreamWriter(out.Writer(), dir)
	} else {
		w.tar = tarfile.NewFileWriter(out.File(), 0, dir)
	}
	if err := w.start(o.plan); err != nil {
		return nil, errors.Join(fmt.Errorf("creating %s: %w", path, err), w.Abort())
	}
	return w, nil
}

// NewWriterForReference returns a Writer of the archive that ref, which must be
// of this package's transport and not belong to a Writer or Reader, names, and a
// reference to the same image within it. It is to writing what
// NewReaderForReference is to reading.
func NewWriterForReference(sys *types.SystemContext, ref types.ImageReference, options ...WriterOption) (*Writer, types.ImageReference, error) {
	standalone, ok := ref.(archiveReference)
	if !ok {
		return nil, nil, fmt.Errorf("writing %s: %s is not a reference to an archive", ref.StringWithinTransport(), ref.Transport().Name())
	}
	if standalone.reader != nil || standalone.writer != nil {
		return nil, nil, fmt.Errorf("writing %s: the reference belongs to an open archive", ref.StringWithinTransport())
	}
	if err := standalone.writable(); err != nil {
		return nil, nil, err
	}
	w, err := NewWriter(sys, standalone.path, append([]WriterOption{WithTransport(standalone.transport)}, options...)...)
	if err != nil {
		return nil, nil, err
	}
	inWriter, err := w.newReference(standalone.name)
	if err != nil {
		return nil, nil, errors.Join(err, w.Abort())
	}
	return w, inWriter, nil
}

// start writes what the archive begins with and reserves the places of what is
// going to be written.
func (w *Writer) start(plan [][]plannedBlob) error {
	head, err := w.contents.head()
	if err != nil {
		return err
	}
	if err := w.tar.Seal(context.Background(), nil, nil, head); err != nil {
		return err
	}
	w.inOrder = !w.out.Stream() || len(plan) > 0
	mediaTypes := map[string]struct{}{}
	for _, blobs := range plan {
		for _, blob := range blobs {
			if blob.layer {
				mediaTypes[blob.mediaType] = struct{}{}
			}
		}
	}
	w.mixed = len(mediaTypes) > 1 && w.layout.decompresses()
	for _, blobs := range plan {
		w.planned = append(w.planned, w.reserve(blobs))
	}
	return nil
}

// reserve reserves the places of the blobs that are new with an image.
func (w *Writer) reserve(blobs []plannedBlob) *archiveImage {
	image := &archiveImage{}
	for _, blob := range blobs {
		size := blob.size
		if w.layout.decompresses() {
			if !blob.layer {
				continue // Written from memory with the image's metadata.
			}
			// Of a layer that may come in another form meanwhile, nothing would be
			// left but a gap.
			if w.mixed || !blob.plain() {
				size = -1
			}
		}
		if w.slots[blob.digest] == nil {
			slot := w.tar.Reserve(w.plannedName(blob.digest), size)
			w.slots[blob.digest] = slot
			image.slots = append(image.slots, plannedSlot{blob.digest, slot})
		}
	}
	if w.layout.decompresses() {
		image.end = w.tar.Reserve("manifest.json", -1)
	}
	return image
}

// plannedName returns a name as long as the one that a blob will be stored under.
func (w *Writer) plannedName(d digest.Digest) string {
	if w.layout.decompresses() || d.Validate() != nil {
		d = digest.FromString("")
	}
	return w.layout.blobName(d)
}

// threadSafe reports whether blobs may be written concurrently.
func (w *Writer) threadSafe() bool { return w.inOrder }

// NewReference returns a reference to which an image can be copied, under the
// given name or, if that is nil, without one.
func (w *Writer) NewReference(destinationRef reference.NamedTagged) (types.ImageReference, error) {
	var name reference.Named // Stays nil if destinationRef is.
	if destinationRef != nil {
		name = destinationRef
	}
	return w.newReference(name)
}

func (w *Writer) newReference(name reference.Named) (types.ImageReference, error) {
	ref, err := w.transport.newReference(w.path, name, -1)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	ref.writer = w
	ref.image = w.newImageLocked()
	return ref, nil
}

func (w *Writer) newImage() *archiveImage {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.newImageLocked()
}

func (w *Writer) newImageLocked() *archiveImage {
	image := &archiveImage{}
	if len(w.planned) > 0 {
		image, w.planned = w.planned[0], w.planned[1:]
	}
	w.images = append(w.images, image)
	return image
}

// open returns the image that a destination is for: that of its reference, or,
// if there was or is another destination for that already, a new one.
func (w *Writer) open(image *archiveImage) (*archiveImage, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, fmt.Errorf("adding an image to %s: %w", w.path, fs.ErrClosed)
	}
	if image.state != imageIdle {
		image = w.newImageLocked()
	}
	image.state = imageOpen
	return image, nil
}

// abandon says that a destination was closed without a commit.
func (w *Writer) abandon(image *archiveImage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if image.state == imageOpen {
		image.state = imageIdle
	}
}

// commit records a complete image and writes all that can be written now. If it
// fails, the image is not part of the archive.
func (w *Writer) commit(ctx context.Context, image *archiveImage, complete *completeImage) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := ctx.Err()
	if w.closed {
		err = fs.ErrClosed
	}
	if err != nil {
		return fmt.Errorf("adding image %s to %s: %w", complete.id, w.path, err)
	}
	image.state, image.complete = imageCommitted, complete
	err = w.sealReadyLocked(ctx, image)
	if err != nil && image.state != imageSealed {
		image.state, image.complete = imageOpen, nil
	}
	return err
}

// sealReadyLocked writes the metadata of an image that has just been committed,
// if its turn has come, and of those that have waited for it.
func (w *Writer) sealReadyLocked(ctx context.Context, image *archiveImage) error {
	if !w.inOrder {
		return w.sealLocked(ctx, image)
	}
	for _, other := range w.images {
		if other.state == imageSealed {
			continue
		}
		if other.state != imageCommitted {
			break
		}
		err := w.sealLocked(ctx, other)
		if err != nil && other == image && !errors.Is(err, tarfile.ErrBusy) {
			return err
		}
		if err != nil {
			break // It is tried again when blobs in its way are complete, or at Close.
		}
	}
	return nil
}

// sealLocked writes the metadata of a committed image behind its layers.
func (w *Writer) sealLocked(ctx context.Context, image *archiveImage) error {
	complete := image.complete
	if err := image.releaseSlots(w.blobs); err != nil {
		return fmt.Errorf("finding the place of image %s in %s: %w", complete.id, w.path, err)
	}
	files, err := complete.files()
	if err == nil {
		err = w.tar.Seal(ctx, image.end, complete.entries, files)
	}
	if err != nil {
		return fmt.Errorf("writing the metadata of image %s to %s: %w", complete.id, w.path, err)
	}
	complete.add()
	image.state, image.complete = imageSealed, nil
	return nil
}

// Close completes the archive with the images that were committed and makes it
// appear at its path. If none was, there is no archive, and that is no error. If
// it fails, the path holds what it held before.
func (w *Writer) Close() error {
	return w.close(context.Background())
}

func (w *Writer) close(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fmt.Errorf("closing %s: %w", w.path, fs.ErrClosed)
	}
	w.closed = true
	complete, err := w.completeLocked(ctx)
	if err != nil || !complete {
		w.tar.Abort()
		return errors.Join(err, w.out.Abort())
	}
	return w.out.Commit(ctx)
}

// completeLocked writes all that is missing, and reports whether there is an
// archive at all.
func (w *Writer) completeLocked(ctx context.Context) (bool, error) {
	for _, image := range slices.Concat(w.images, w.planned) {
		if image.state != imageCommitted && image.state != imageSealed {
			if err := image.releaseAll(w.blobs); err != nil {
				return false, err
			}
		}
	}
	for _, image := range w.images {
		if image.state == imageCommitted {
			if err := w.sealLocked(ctx, image); err != nil {
				return false, err
			}
		}
	}
	if w.contents.empty() {
		return false, nil
	}
	files, err := w.contents.tail()
	if err == nil {
		err = w.tar.Seal(ctx, nil, nil, files)
	}
	if err == nil {
		err = w.tar.Close(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("completing %s: %w", w.path, err)
	}
	return true, nil
}

// Abort gives the archive up, whatever has been committed: the path holds what
// it held before. It does nothing after Close.
func (w *Writer) Abort() error {
	w.tar.Abort() // Before the lock: it wakes those who wait.
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return w.out.Abort()
}
