package dockerarchive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
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
	path   string
	sys    *types.SystemContext
	out    *output.Output
	tar    *tarfile.Writer
	layers *layerSet
	slots  map[digest.Digest]*tarfile.Slot // places of planned layers; not changed after NewWriter

	mu       sync.Mutex
	planned  []*archiveImage // for references that are still to be made
	images   []*archiveImage // in the order of their references
	inOrder  bool            // images are sealed in that order, not as they are committed
	contents contents
	closed   bool
}

// WriterOption is an option of NewWriter.
type WriterOption func(*writerOptions)

type writerOptions struct {
	plan []plannedImage
	err  error
}

// plannedImage is the digests of an image's layers, as they will be put.
type plannedImage []digest.Digest

// WithManifests tells a Writer the manifests of the images that will be copied,
// the first of them to the first reference that NewReference returns, and so on.
// Their layers then get their final places at once, and can be copied at the
// same time also to a pipe. The bytes of the archive are the same with and
// without it in a regular file.
func WithManifests(manifests ...[]byte) WriterOption {
	return func(o *writerOptions) {
		for i, m := range manifests {
			infos, err := layerInfos(m, manifest.GuessMIMEType(m))
			if err != nil {
				o.err = fmt.Errorf("planning image %d: parsing its manifest: %w", i, err)
				return
			}
			withLayers(digests(infos))(o)
		}
	}
}

// withLayers is WithManifests for one image whose layers are known.
func withLayers(layers []digest.Digest) WriterOption {
	return func(o *writerOptions) { o.plan = append(o.plan, layers) }
}

func digests(infos []types.BlobInfo) []digest.Digest {
	digests := make([]digest.Digest, len(infos))
	for i, info := range infos {
		digests[i] = info.Digest
	}
	return digests
}

// NewWriter returns a Writer of an archive at path. Nothing may be there, except
// for an empty file, which is replaced; a FIFO or a device, /dev/stdout included,
// is written as a stream. Large temporary files, which only streams and blobs
// that have to wait for their place need, are unnamed, and for a stream in
// sys.BigFilesTemporaryDir.
//
// It returns ErrNotEmpty or ErrTerminal, wrapped, where they say why. The caller
// must call Close or Abort.
func NewWriter(sys *types.SystemContext, path string, options ...WriterOption) (*Writer, error) {
	var o writerOptions
	for _, option := range options {
		option(&o)
	}
	if o.err != nil {
		return nil, fmt.Errorf("creating %s: %w", path, o.err)
	}
	out, err := output.Create(path)
	if err != nil {
		return nil, err
	}
	w := &Writer{
		path:     path,
		sys:      sys,
		out:      out,
		layers:   newLayerSet(),
		slots:    map[digest.Digest]*tarfile.Slot{},
		contents: newContents(),
	}
	if out.Stream() {
		dir := ""
		if sys != nil {
			dir = sys.BigFilesTemporaryDir
		}
		w.tar = tarfile.NewStreamWriter(out.File(), spool.Dir(dir))
	} else {
		w.tar = tarfile.NewFileWriter(out.File(), out.Dir())
	}
	w.plan(o.plan)
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
	w, err := NewWriter(sys, standalone.path, options...)
	if err != nil {
		return nil, nil, err
	}
	inWriter, err := w.NewReference(standalone.name)
	if err != nil {
		return nil, nil, errors.Join(err, w.Abort())
	}
	return w, inWriter, nil
}

// plan reserves the places of what is going to be written.
func (w *Writer) plan(images []plannedImage) {
	w.inOrder = !w.out.Stream() || len(images) > 0
	for _, layers := range images {
		image := &archiveImage{}
		for _, layer := range layers {
			if w.slots[layer] == nil {
				slot := w.tar.Reserve(-1)
				w.slots[layer] = slot
				image.slots = append(image.slots, slot)
			}
		}
		image.end = w.tar.Reserve(-1)
		w.planned = append(w.planned, image)
	}
}

// threadSafe reports whether blobs may be written concurrently.
func (w *Writer) threadSafe() bool { return w.inOrder }

// NewReference returns a reference to which an image can be copied, under the
// given name or, if that is nil, without one.
func (w *Writer) NewReference(destinationRef reference.NamedTagged) (types.ImageReference, error) {
	ref, err := Transport.newReference(w.path, destinationRef, -1)
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

// commit records a complete image and writes all that can be written now.
func (w *Writer) commit(ctx context.Context, image *archiveImage, metadata *imageMetadata) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fmt.Errorf("adding image %s to %s: %w", metadata.configDigest, w.path, fs.ErrClosed)
	}
	image.state, image.metadata = imageCommitted, metadata
	if !w.inOrder {
		return w.sealLocked(ctx, image)
	}
	for _, image := range w.images {
		if image.state == imageSealed {
			continue
		}
		if image.state != imageCommitted {
			break
		}
		err := w.sealLocked(ctx, image)
		if errors.Is(err, tarfile.ErrBusy) {
			break // When the blobs in its way are complete, or at Close.
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sealLocked writes the metadata of a committed image behind its layers.
func (w *Writer) sealLocked(ctx context.Context, image *archiveImage) error {
	if err := image.releaseSlots(); err != nil {
		return err
	}
	metadata := image.metadata
	files, err := w.contents.filesOf(metadata)
	if err == nil {
		err = w.tar.Seal(ctx, image.end, metadata.entries(), files)
	}
	if err != nil {
		return fmt.Errorf("writing the metadata of image %s to %s: %w", metadata.configDigest, w.path, err)
	}
	w.contents.add(metadata)
	image.state, image.metadata = imageSealed, nil
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
	return w.out.Commit()
}

// completeLocked writes all that is missing, and reports whether there is an
// archive at all.
func (w *Writer) completeLocked(ctx context.Context) (bool, error) {
	for _, image := range slices.Concat(w.images, w.planned) {
		if image.state != imageCommitted && image.state != imageSealed {
			if err := image.releaseAll(); err != nil {
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
	if len(w.contents.items) == 0 {
		return false, nil
	}
	files, err := w.contents.tail()
	if err == nil {
		err = w.tar.Seal(ctx, nil, nil, files)
	}
	if err == nil {
		err = w.tar.Close()
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
