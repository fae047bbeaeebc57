package dockerarchive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// Reader reads the images of one archive. The archive is indexed, and if it is
// compressed or comes from a pipe copied to a temporary file, once, for however
// many images. All methods may be called concurrently, but none after Close.
type Reader struct {
	transport archiveTransport
	path      string
	file      *input.File
	index     *tarfile.Index
	catalog   *catalog.Catalog

	closeOnce sync.Once
	closeErr  error
}

// NewReader is NewReaderContext without a context. It has the signature of
// containers/image's docker/archive.
func NewReader(sys *types.SystemContext, path string) (*Reader, error) {
	return NewReaderContext(context.Background(), sys, path)
}

// NewReaderContext opens the archive at path, "-" and /dev/stdin being the
// standard input. It may be in any format that the package reads, and compressed:
// such an archive, or one from a pipe, is copied to an unnamed temporary file in
// sys.BigFilesTemporaryDir, which ctx can end. A directory with an OCI layout is read
// where it is. The caller must close the Reader.
func NewReaderContext(ctx context.Context, sys *types.SystemContext, path string) (*Reader, error) {
	return Transport.newReader(ctx, sys, path)
}

// NewReaderFrom reads an archive from r to its end, as from a pipe, into an
// unnamed temporary file in sys.BigFilesTemporaryDir. The caller must close the
// Reader.
func NewReaderFrom(ctx context.Context, sys *types.SystemContext, r io.Reader) (*Reader, error) {
	return Transport.openReader(ctx, "a stream", func() (*input.File, error) { return input.FromReader(ctx, r, inputOptions(sys)) })
}

// NewReaderAt opens an archive of size bytes that r holds: a part of another file,
// memory, something remote. If it is not compressed, nothing is copied. r must stay
// usable until the Reader is closed, which does not close r.
func NewReaderAt(ctx context.Context, sys *types.SystemContext, r io.ReaderAt, size int64) (*Reader, error) {
	return Transport.openReader(ctx, "an archive", func() (*input.File, error) { return input.FromReaderAt(ctx, r, size, inputOptions(sys)) })
}

func (t archiveTransport) newReader(ctx context.Context, sys *types.SystemContext, path string) (*Reader, error) {
	path = naming.HideQuery(path)
	return t.openReader(ctx, path, func() (*input.File, error) { return input.Open(ctx, path, inputOptions(sys)) })
}

func inputOptions(sys *types.SystemContext) input.Options {
	o := input.Options{Looks: tarfile.CheckStart}
	if sys != nil {
		o.TempDir = sys.BigFilesTemporaryDir
		o.Access = input.Access{CertDir: sys.DockerCertPath, SkipVerify: sys.DockerInsecureSkipTLSVerify == types.OptionalBoolTrue, UserAgent: sys.DockerRegistryUserAgent}
		if auth := sys.DockerAuthConfig; auth != nil {
			o.Access.Username, o.Access.Password = auth.Username, auth.Password
		}
	}
	return o
}

func (t archiveTransport) openReader(ctx context.Context, path string, open func() (*input.File, error)) (*Reader, error) {
	file, err := open()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.name, err)
	}
	r := &Reader{transport: t, path: path, file: file}
	if r.index, err = tarfile.NewIndex(ctx, file, file.Size()); err == nil {
		r.catalog, err = catalog.Load(ctx, r.index)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: reading %s: %w", t.name, path, errors.Join(err, file.Close()))
	}
	logrus.Debugf("%s: %s holds %d images in %d bytes, copied to a temporary file: %t", t.name, path, len(r.catalog.Images()), file.Size(), file.Copied)
	return r, nil
}

// NewReaderForReference is NewReaderForReferenceContext without a context. It has
// the signature of containers/image's docker/archive.
func NewReaderForReference(sys *types.SystemContext, ref types.ImageReference) (*Reader, types.ImageReference, error) {
	return NewReaderForReferenceContext(context.Background(), sys, ref)
}

// NewReaderForReferenceContext opens the archive that ref names. It must not belong
// to a Reader of this package; a reference of containers/image's built-in transport
// counts by its string only. The function also returns a reference to the same image
// that belongs to the Reader. The caller must close the Reader.
func NewReaderForReferenceContext(ctx context.Context, sys *types.SystemContext, ref types.ImageReference) (*Reader, types.ImageReference, error) {
	archiveRef, err := own(ref)
	if err != nil {
		return nil, nil, err
	}
	if archiveRef.reader != nil {
		return nil, nil, fmt.Errorf("%s: reference %s belongs to a reader already", archiveRef.transport.name, archiveRef.StringWithinTransport())
	}
	r, err := archiveRef.transport.newReader(ctx, sys, archiveRef.path)
	if err != nil {
		return nil, nil, err
	}
	if err := archiveRef.complete(ctx, r.catalog); err != nil {
		return nil, nil, errors.Join(err, r.Close())
	}
	archiveRef.reader = r
	return r, archiveRef, nil
}

// Path returns the path that the archive was opened by.
func (r *Reader) Path() string { return r.path }

// Close closes the archive and with it every image opened from it.
func (r *Reader) Close() error {
	r.closeOnce.Do(func() { r.closeErr = r.file.Close() })
	return r.closeErr
}

// List returns references to all images, those to one image together. An image
// without a name that a reference could have is referred to by its position. The
// references are valid until the Reader is closed.
func (r *Reader) List() ([][]types.ImageReference, error) {
	list := [][]types.ImageReference{}
	for _, img := range r.catalog.Images() {
		refs := r.references(img)
		group := make([]types.ImageReference, len(refs))
		for i, ref := range refs {
			group[i] = ref
		}
		list = append(list, group)
	}
	return list, nil
}

// IndexReference returns a reference to the image at a zero-based position, which
// tells it from another of the same name. It is valid until the Reader is closed.
func (r *Reader) IndexReference(position int) (types.ImageReference, error) {
	if position < 0 {
		return nil, fmt.Errorf("%s: image index @%d must not be negative", r.transport.name, position)
	}
	return archiveReference{transport: r.transport, path: r.path, index: position, reader: r}, nil
}

// references returns at least one reference to an image.
func (r *Reader) references(img *catalog.Image) []archiveReference {
	var refs []archiveReference
	for _, name := range img.Names {
		if ref, ok := r.reference(img, name); ok {
			refs = append(refs, ref)
		}
	}
	if len(refs) == 0 {
		refs = []archiveReference{{transport: r.transport, path: r.path, index: img.Position, reader: r}}
	}
	return refs
}

// reference returns a reference to an image by a name. ok is false if none can say it.
func (r *Reader) reference(img *catalog.Image, name string) (ref archiveReference, ok bool) {
	ref = archiveReference{transport: r.transport, path: r.path, index: -1, reader: r}
	named, err := reference.ParseNormalizedNamed(name)
	switch {
	case err == nil && !(img.IsFree(name) && reference.IsNameOnly(named)):
		ref.name = reference.TagNameOnly(named)
	case naming.IsFree(name):
		ref.free = name
	default:
		return ref, false
	}
	return ref, true
}

// OtherNames returns, for packages of this module that write another archive, those names of
// the image at a position that no reference can say, such as [::1]:5000/app:1.
func (r *Reader) OtherNames(position int) (names []string) {
	img := r.catalog.Images()[position]
	for _, name := range img.Names {
		if _, ok := r.reference(img, name); !ok {
			names = append(names, name)
		}
	}
	return names
}

// IsReferrer reports, likewise, whether the image at a position is about another one, such as a
// signature.
func (r *Reader) IsReferrer(position int) bool {
	return len(r.catalog.Images()[position].Subjects()) > 0
}

// ManifestTagsForReference returns the names that the archive has for an image,
// as they are there: those that match the name in ref if it has one, else all.
// It fails if ref does not refer to exactly one image.
func (r *Reader) ManifestTagsForReference(ref types.ImageReference) ([]string, error) {
	archiveRef, err := own(ref)
	if err != nil {
		return nil, err
	}
	img, tag, err := r.choose(archiveRef, nil)
	if err != nil {
		return nil, err
	}
	if tag != "" {
		return []string{tag}, nil
	}
	return img.Names, nil
}

// choose returns the image that ref refers to and its name in the archive, if
// ref has one. Where several images differ in their platforms only, sys chooses.
func (r *Reader) choose(ref archiveReference, sys *types.SystemContext) (*catalog.Image, string, error) {
	name := ref.free
	if ref.name != nil {
		name = ref.name.String()
	}
	img, tag, err := r.catalog.Choose(name, ref.index, func(images []imgspecv1.Descriptor) (int, error) {
		return choosePlatform(images, sys)
	})
	if err != nil {
		return nil, "", fmt.Errorf("%s: %s: %w", ref.transport.name, ref.path, err)
	}
	return img, tag, nil
}

// choosePlatform returns the number of the image for the platform that sys asks
// for, as containers/image chooses from an index.
func choosePlatform(images []imgspecv1.Descriptor, sys *types.SystemContext) (int, error) {
	index := manifest.OCI1IndexFromComponents(images, nil)
	d, err := index.ChooseInstance(sys)
	if err != nil {
		missing := &errdef.NoPlatformError{Wanted: "this machine's platform"}
		if sys != nil && sys.OSChoice+sys.ArchitectureChoice != "" {
			missing.Wanted = image.PlatformString(&imgspecv1.Platform{
				OS: cmp.Or(sys.OSChoice, runtime.GOOS), Architecture: cmp.Or(sys.ArchitectureChoice, runtime.GOARCH), Variant: sys.VariantChoice,
			})
		}
		for _, img := range images {
			missing.Available = append(missing.Available, image.PlatformString(img.Platform))
		}
		return 0, missing
	}
	return slices.IndexFunc(images, func(img imgspecv1.Descriptor) bool { return img.Digest == d }), nil
}
