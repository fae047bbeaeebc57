package dockerarchive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/writing"
)

// Writer writes any number of images to one archive, each distinct layer once.
//
// Images are copied to the references that NewReference returns, one after the
// other or at the same time. In a regular file they stand in the order in which
// their references were made; on a pipe, which cannot be put in order later, in
// the order in which they were committed, unless the Writer was told the plan.
//
// The archive appears at its path when Close succeeds, if at least one image was
// committed. All methods may be called concurrently, except that Close and Abort
// must come last.
type Writer struct {
	transport archiveTransport
	archive   *writing.Archive
	absent    map[digest.Digest]bool // layers of planned images; not changed
	origins   []originator           // of planned images; not changed
}

// WriterOptions are the options of a Writer; nil and the zero value will do.
type WriterOptions struct {
	// Transport says which kind of archive to write. It must be one of this
	// package's; nil is Transport.
	Transport types.ImageTransport
	// Plan says which images will be copied, the first of them to the first
	// reference that NewReference returns, and so on. Their blobs then get their
	// final places at once, and can be copied at the same time also to a pipe. In
	// a regular file the bytes of the archive are the same with and without it.
	Plan []Plan
	// ReadEnd, if not nil, returns the last n bytes of a layer that is being copied, if
	// they can be had. Gzip has the unpacked size there, so that an archive with
	// uncompressed layers can decompress several at the same time, each into its place.
	// The size is not trusted, and errors are of no consequence. It is called
	// concurrently, and should end with ctx.
	ReadEnd func(ctx context.Context, layer digest.Digest, n int) ([]byte, error)
	// SkipDockerManifest leaves manifest.json and repositories out of an
	// image-archive, which is an OCI image layout and nothing else then: containerd,
	// podman, skopeo and Docker with the containerd store read it, Docker before 25
	// does not.
	SkipDockerManifest bool
	// Compression is none, gzip or zstd. If it is empty, the archive is compressed as
	// its path says: .tar.gz and .tgz, .tar.zst and .tzst, anything else is not.
	Compression string
	// NoSync leaves it to the system when the archive gets to the disk. Otherwise it is
	// there when Close returns, under its name, and never a part of it.
	NoSync bool
	// Split, if not 0, is the size in bytes, at least 1 MiB, of the parts that a new archive
	// is written in, PATH.000, PATH.001 and so on. All have their names only when all are
	// complete. They are read where they are, and joined they are the archive.
	Split int64
	// KeepUntagged has OpenWriter keep images that lose their last names to added ones,
	// as images without a name.
	KeepUntagged bool
	// Wait has OpenWriter wait for other writers of the archive.
	Wait bool
}

func (o *WriterOptions) split() int64 {
	if o == nil {
		return 0
	}
	return o.Split
}

// Plan is what is known of an image that will be copied. Its parts are added in the
// order of an archive: for an index, each manifest, and then the index.
type Plan struct {
	blobs   []image.Blob
	absent  map[digest.Digest]bool
	origins []originator
}

// LeaveOut says that a layer with URLs will not be copied: an image-archive refers to
// it, and it stays where it is. Call it before the layer's manifest is added.
func (p *Plan) LeaveOut(layer digest.Digest) {
	if p.absent == nil {
		p.absent = map[digest.Digest]bool{}
	}
	p.absent[layer] = true
}

// originator is a source that knows what Docker's manifest.json says of an image.
type originator interface {
	Origin(config digest.Digest) image.Origin
}

// TakeFrom has the image keep the facts about it that only manifest.json in the archive
// behind src has: the image it was built on, and the URLs of layers. Other sources say
// nothing. src must be usable until the image is committed.
func (p *Plan) TakeFrom(src types.ImageSource) {
	if o, ok := src.(originator); ok {
		p.origins = append(p.origins, o)
	}
}

// AddManifest adds a manifest with all that it refers to, or an index.
func (p *Plan) AddManifest(raw []byte) error {
	d, err := image.ParseDocument(raw, "")
	if err != nil {
		return fmt.Errorf("planning an image: parsing its manifest: %w", err)
	}
	d.Absent = p.absent
	p.blobs = slices.AppendSeq(p.blobs, d.Blobs())
	return nil
}

// AddLayers adds layers whose manifest is not known yet.
func (p *Plan) AddLayers(layers []types.BlobInfo) {
	for _, l := range layers {
		p.blobs = append(p.blobs, image.Blob{
			Descriptor: imgspecv1.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size},
			Kind:       image.KindLayer,
		})
	}
}

// NewWriter is NewWriterContext without options. It has the signature of
// containers/image's docker/archive.
func NewWriter(sys *types.SystemContext, path string) (*Writer, error) {
	return NewWriterContext(context.Background(), sys, path, nil)
}

// NewWriterContext returns a Writer of an archive at path. Nothing may be there,
// except for an empty file, which is replaced; a FIFO or a device, /dev/stdout
// included, is written as a stream. Only streams and blobs that wait for their place
// need large temporary files. Those are unnamed, beside the archive or, for a stream,
// in sys.BigFilesTemporaryDir.
//
// It returns errdef.ErrNotEmpty or errdef.ErrTerminal, wrapped, where they say why.
// ctx ends the wait for a FIFO's reader, and has no effect later. The caller must
// call Close or Abort.
func NewWriterContext(ctx context.Context, sys *types.SystemContext, path string, options *WriterOptions) (*Writer, error) {
	ctx = reaching(ctx, sys)
	return newWriter(ctx, sys, path, options, nil, func() (*output.Output, error) { return output.CreateSplit(ctx, path, options.split()) })
}

// reaching returns a context in which an object store is reached as sys says.
func reaching(ctx context.Context, sys *types.SystemContext) context.Context {
	access := inputOptions(sys).Access
	return output.WithRemote(ctx, func(o *output.RemoteOptions) {
		o.CertDir, o.SkipVerify, o.UserAgent = access.CertDir, access.SkipVerify, access.UserAgent
	})
}

// NewWriterTo returns a Writer of an archive that is written to w from start to
// end, as to a pipe. It does not close w. When it fails, or is aborted, w has got an
// archive without its end.
func NewWriterTo(ctx context.Context, sys *types.SystemContext, w io.Writer, options *WriterOptions) (*Writer, error) {
	return newWriter(ctx, sys, "a stream", options, nil, func() (*output.Output, error) { return output.ToWriter(w), nil })
}

func newWriter(ctx context.Context, sys *types.SystemContext, path string, options *WriterOptions, existing *writing.Existing, create func() (*output.Output, error)) (*Writer, error) {
	if options == nil {
		options = &WriterOptions{}
	}
	transport := Transport
	if t := options.Transport; t != nil {
		var ok bool
		if transport, ok = t.(archiveTransport); !ok {
			return nil, fmt.Errorf("creating %s: transport %s does not write archives of this package", path, t.Name())
		}
	}
	o := writing.Options{Layout: transport.Layout(sys), Existing: existing, ReadEnd: options.ReadEnd}
	if existing != nil {
		o.Layout = existing.Layout()
	} else if options.SkipDockerManifest {
		var err error
		if o.Layout, err = layout.WithoutDocker(o.Layout); err != nil {
			return nil, fmt.Errorf("creating %s: %w", path, err)
		}
	}
	absent := map[digest.Digest]bool{}
	var origins []originator
	for _, p := range options.Plan {
		o.Plan = append(o.Plan, p.blobs)
		maps.Copy(absent, p.absent)
		origins = append(origins, p.origins...)
	}
	if sys != nil {
		o.TempDir = sys.BigFilesTemporaryDir
	}
	algorithm, err := output.Compression(path, options.Compression)
	if err != nil {
		return nil, fmt.Errorf("creating %s: %w", path, err)
	}
	out, err := create()
	if err == nil {
		out, err = out.With(output.Options{Compress: algorithm, Split: options.Split})
	}
	if err != nil {
		return nil, err
	}
	if options.NoSync {
		out.NoSync()
	}
	archive, err := writing.New(ctx, out, path, o)
	if err != nil {
		return nil, err
	}
	return &Writer{transport: transport, archive: archive, absent: absent, origins: origins}, nil
}

// NewWriterForReference returns a Writer of the archive that ref names, and a reference
// to the same image within it. IsArchive must be true for ref. The function is to
// writing what NewReaderForReference is to reading. The reference's own transport says
// which kind of archive is written. An existing archive is added to, as by OpenWriter.
func NewWriterForReference(ctx context.Context, sys *types.SystemContext, ref types.ImageReference, options *WriterOptions) (*Writer, types.ImageReference, error) {
	standalone, err := own(ref)
	if err != nil {
		return nil, nil, err
	}
	if standalone.reader != nil || standalone.writer != nil {
		return nil, nil, fmt.Errorf("writing %s: the reference belongs to an open archive", ref.StringWithinTransport())
	}
	if err := standalone.writable(); err != nil {
		return nil, nil, err
	}
	var o WriterOptions
	if options != nil {
		o = *options
	}
	o.Transport = standalone.transport
	w, err := openOrCreate(ctx, sys, standalone.path, &o)
	if err != nil {
		return nil, nil, err
	}
	inWriter, err := w.bind(standalone)
	if err != nil {
		return nil, nil, errors.Join(err, w.Abort())
	}
	return w, inWriter, nil
}

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
	return w.bind(archiveReference{name: name, index: -1})
}

// bind returns ref as a reference of the Writer.
func (w *Writer) bind(ref archiveReference) (types.ImageReference, error) {
	ref.transport, ref.path = w.transport, w.archive.Path()
	if err := ref.writable(); err != nil {
		return nil, err
	}
	ref.writer, ref.place = w, w.archive.NewImage()
	return ref, nil
}

// Close is CloseContext without a context.
func (w *Writer) Close() error { return w.archive.Close(context.Background()) }

// CloseContext completes the archive with the images that were committed and makes
// it appear at its path. If none was, there is no archive, and that is no error. If
// it fails, or ctx ends before, the path holds what it held before.
func (w *Writer) CloseContext(ctx context.Context) error { return w.archive.Close(ctx) }

// Undoable reports whether Abort leaves the path as it was, which it cannot where that is a
// pipe or a device.
func (w *Writer) Undoable() bool { return w.archive.Undoable() }

// Abort gives the archive up, including committed images: the path holds its old
// content. It does nothing after Close.
func (w *Writer) Abort() error { return w.archive.Abort() }
