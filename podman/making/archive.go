package making

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/writing"
	"github.com/dockerarchive/dockerarchive/podman/internal/layouts"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
	"github.com/dockerarchive/dockerarchive/podman/internal/stores"
	"github.com/dockerarchive/dockerarchive/progress"
)

// ArchiveOptions are the options of WriteArchive; the zero value will do.
type ArchiveOptions struct {
	// Transport says which kind of archive to write: dockerarchive.Transport, or
	// dockerarchive.ImageTransport, as nil does.
	Transport types.ImageTransport
	// Names are the names of the image in the archive.
	Names []reference.Named
	// Jobs is how many layers of the base are read at the same time; 0 means 6.
	Jobs int
	// DestinationCtx has the certificates for a bucket; nothing else of it counts.
	DestinationCtx *types.SystemContext
}

// WriteArchive makes an image straight into a new archive at path; see
// dockerarchive.NewWriterContext for the paths. Every layer is written once, where it
// stays. It returns the image that was made; an archive of dockerarchive.Transport does
// not keep the manifest. An image without a base is for linux and this machine's
// architecture, unless it says another platform. If it fails, there is no archive.
func WriteArchive(ctx context.Context, path string, img *compose.Image, o *ArchiveOptions) (*compose.Made, error) {
	img = forPlatform(img)
	w := &archiveWriter{path: path}
	if o != nil {
		w.options = *o
	}
	if w.options.Jobs <= 0 {
		w.options.Jobs = 6
	}
	var err error
	if w.layout, err = layouts.Of(w.options.Transport, nil); err != nil {
		return nil, fmt.Errorf("writing %s: %w", path, err)
	}
	if w.layout.Unpacks() { // Compressed layers would be decompressed at once.
		plain := *img
		plain.Compression = compose.Compression{Algorithm: compose.None}
		img = &plain
	}
	ctx = stores.Reaching(ctx, w.options.DestinationCtx)
	out, err := output.Create(ctx, path)
	if err != nil {
		return nil, err
	}
	w.out = out
	made, err := w.write(ctx, img)
	if err != nil {
		return nil, errors.Join(err, w.abort())
	}
	if err := w.archive.Close(ctx); err != nil {
		return nil, err
	}
	return made, nil
}

// archiveWriter writes an archive of one image. It is a compose.Sink.
type archiveWriter struct {
	path    string
	options ArchiveOptions
	layout  layout.Layout
	image   *compose.Image
	out     *output.Output   // until archive has taken it over
	archive *writing.Archive // nil before the base is known
	place   *writing.Image
	added   int // layers upon those of the base

	base *errgroup.Group // reads the layers of the base
}

func (w *archiveWriter) abort() error {
	if w.archive != nil {
		return w.archive.Abort()
	}
	return w.out.Abort()
}

func (w *archiveWriter) write(ctx context.Context, img *compose.Image) (*compose.Made, error) {
	making, cancel := context.WithCancel(ctx)
	defer cancel()
	w.base, making = errgroup.WithContext(making) // If the base cannot be read, nothing is made.
	w.image = img
	made, err := img.MakeTo(making, w)
	if err != nil {
		cancel()
	}
	if baseErr := w.base.Wait(); baseErr != nil && ctx.Err() == nil && (err == nil || errors.Is(err, context.Canceled) || errors.Is(err, baseErr)) {
		err = fmt.Errorf("reading the base: %w", baseErr)
	}
	if made != nil {
		err = errors.Join(err, made.Close())
	}
	if err != nil {
		return nil, err
	}
	return made, w.finish(ctx, made)
}

// PutBase implements compose.Sink. It begins the archive, with places for the layers of
// the base, and begins to read these.
func (w *archiveWriter) PutBase(ctx context.Context, layers []imgspecv1.Descriptor, open func(ctx context.Context, i int) (io.ReadCloser, error)) error {
	var base []image.Blob
	for _, l := range layers {
		base = append(base, image.Blob{Descriptor: l, Kind: image.KindLayer})
	}
	out := w.out
	var err error
	w.archive, err = writing.New(ctx, out, w.path, writing.Options{Layout: w.layout, Plan: [][]image.Blob{w.plan(base)}, TempDir: w.image.TempDir})
	if err != nil {
		return err
	}
	if w.place, err = w.archive.Open(w.archive.NewImage()); err != nil {
		return err
	}
	fetcher := fetching.New(fetching.Options{
		Jobs:    w.options.Jobs,
		Backoff: sources.Retries(0, 0).Backoff, // A Base resumes by itself.
		Store: func(ctx context.Context, blob *fetching.Blob, r io.Reader) error {
			_, _, err := w.archive.Put(ctx, w, r, blob.Digest, blob.Size)
			return err
		},
		Fatal:    func(error) bool { return true },
		Progress: w.report,
	})
	source := fetcher.AddImage(baseSource{layers, open}, "", func(err error) error { return err })
	for _, b := range base {
		fetcher.Need(source, b)
	}
	fetcher.Start(ctx, w.base, fetcher.Blobs())
	return nil
}

// plan returns the layers of the base and, under made-up digests, the added ones.
func (w *archiveWriter) plan(base []image.Blob) []image.Blob {
	mediaType := imgspecv1.MediaTypeImageLayer
	if len(base) > 0 {
		mediaType = base[0].MediaType // As good as any: it is not known yet.
	}
	plan := slices.Clone(base)
	for i := range w.image.AddedLayers() {
		plan = append(plan, image.Blob{Kind: image.KindLayer, Descriptor: imgspecv1.Descriptor{MediaType: mediaType, Digest: placeOf(i), Size: -1}})
	}
	return plan
}

// placeOf returns the key under which the added layer with a number is planned.
func placeOf(i int) digest.Digest { return digest.FromString(fmt.Sprint("added layer ", i)) }

// report tells the caller how far reading the base is.
func (w *archiveWriter) report(e progress.Event) {
	if w.image.Progress != nil && e.Err == nil && (e.Kind == progress.Finished || e.Kind == progress.Read) {
		w.image.Progress(e)
	}
}

// baseSource is where the layers of the base are.
type baseSource struct {
	layers []imgspecv1.Descriptor
	open   func(ctx context.Context, i int) (io.ReadCloser, error)
}

// Open implements fetching.Source.
func (s baseSource) Open(ctx context.Context, blob imgspecv1.Descriptor, offset int64) (io.ReadCloser, error) {
	i := slices.IndexFunc(s.layers, func(l imgspecv1.Descriptor) bool { return l.Digest == blob.Digest })
	body, err := s.open(ctx, i)
	if err != nil {
		return nil, err
	}
	return fetching.Skip(body, offset)
}

// PutLayer implements compose.Sink.
func (w *archiveWriter) PutLayer(ctx context.Context, blob io.Reader) (digest.Digest, int64, error) {
	d, size, err := w.archive.PutPlanned(ctx, w, blob, placeOf(w.added))
	if err == nil {
		w.added++
	}
	return d, size, err
}

// finish writes the documents and makes the image part of the archive.
func (w *archiveWriter) finish(ctx context.Context, made *compose.Made) error {
	document, err := image.ParseDocument(made.Manifest, made.MediaType)
	if err != nil {
		return err
	}
	config := document.Config.Digest
	if !w.layout.Unpacks() {
		if err := w.archive.PutBytes(ctx, w, made.Config, config); err != nil {
			return err
		}
		if err := w.archive.PutBytes(ctx, w, made.Manifest, document.Descriptor.Digest); err != nil {
			return err
		}
	}
	content := &image.Image{Documents: []*image.Document{document}, Configs: map[digest.Digest][]byte{config: made.Config}}
	for _, name := range w.options.Names {
		content.Names = append(content.Names, reference.TagNameOnly(name).String())
	}
	if err := w.layout.Check(document); err != nil {
		return err
	}
	if err := w.archive.Check(content); err != nil {
		return err
	}
	return w.archive.Commit(ctx, w.place, content)
}
