package dockerarchive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/transports"
	"github.com/containers/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/input"
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

// NewReader opens the archive at path, "-" and /dev/stdin being the standard
// input. It may be in any format that the package reads, and compressed. The
// caller must close the Reader.
func NewReader(sys *types.SystemContext, path string) (*Reader, error) {
	return NewReaderContext(context.Background(), sys, path)
}

// NewReaderContext is NewReader with a context that can end it: a compressed
// archive, or one from a pipe, may take a while.
func NewReaderContext(ctx context.Context, sys *types.SystemContext, path string) (*Reader, error) {
	return Transport.newReader(ctx, sys, path)
}

func (t archiveTransport) newReader(ctx context.Context, sys *types.SystemContext, path string) (*Reader, error) {
	o := input.Options{Looks: looksLikeArchive}
	if sys != nil {
		o.TempDir = sys.BigFilesTemporaryDir
	}
	file, err := input.Open(ctx, path, o)
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
	return r, nil
}

// looksLikeArchive refuses what cannot be an archive by its first block, before
// it is copied as a whole.
func looksLikeArchive(block []byte) error {
	_, err := tar.NewReader(bytes.NewReader(block)).Next()
	switch {
	case errors.Is(err, tar.ErrHeader):
		return errdef.Errorf(errdef.ErrNoImageArchive, "not a valid tar archive: no tar header at its start")
	case err == io.EOF && len(block) > 0: // The end of an archive without entries.
		return errdef.Errorf(errdef.ErrNoImageArchive, "a tar archive without entries")
	}
	return nil // The header may be longer than a block.
}

// NewReaderForReference opens the archive of a reference from this package that
// does not belong to a Reader yet. It also returns a reference to the same image
// that does. The caller must close the Reader.
func NewReaderForReference(sys *types.SystemContext, ref types.ImageReference) (*Reader, types.ImageReference, error) {
	archiveRef, ok := ref.(archiveReference)
	if !ok {
		return nil, nil, fmt.Errorf("%s: %s is not a reference to an archive", Transport.name, transports.ImageName(ref))
	}
	if archiveRef.reader != nil {
		return nil, nil, fmt.Errorf("%s: reference %s belongs to a reader already", archiveRef.transport.name, archiveRef.StringWithinTransport())
	}
	r, err := archiveRef.transport.newReader(context.Background(), sys, archiveRef.path)
	if err != nil {
		return nil, nil, err
	}
	archiveRef.reader = r
	return r, archiveRef, nil
}

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
		refs, err := r.references(img)
		if err != nil {
			return nil, err
		}
		group := make([]types.ImageReference, len(refs))
		for i, ref := range refs {
			group[i] = ref
		}
		list = append(list, group)
	}
	return list, nil
}

// references returns at least one reference to an image.
func (r *Reader) references(img *catalog.Image) ([]archiveReference, error) {
	var refs []archiveReference
	for _, name := range img.Names {
		normalized, ok := catalog.Normalize(name)
		if !ok {
			continue
		}
		named, err := reference.ParseNormalizedNamed(normalized)
		if err != nil {
			continue // Not a name for containers/image.
		}
		tagged, ok := named.(reference.NamedTagged)
		if !ok {
			continue
		}
		ref, err := r.transport.newReference(r.path, tagged, -1)
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	if len(refs) == 0 {
		ref, err := r.transport.newReference(r.path, nil, img.Position)
		if err != nil {
			return nil, err
		}
		refs = []archiveReference{ref}
	}
	for i := range refs {
		refs[i].reader = r
	}
	return refs, nil
}

// ManifestTagsForReference returns the names that the archive has for an image,
// as they are there: those that match the name in ref if it has one, else all.
// It fails if ref does not refer to exactly one image.
func (r *Reader) ManifestTagsForReference(ref types.ImageReference) ([]string, error) {
	archiveRef, ok := ref.(archiveReference)
	if !ok {
		return nil, fmt.Errorf("%s: %s is not a reference to an archive", r.transport.name, transports.ImageName(ref))
	}
	img, tag, err := r.choose(archiveRef)
	if err != nil {
		return nil, err
	}
	if tag != "" {
		return []string{tag}, nil
	}
	return img.Names, nil
}

// choose returns the image that ref refers to and its name in the archive, if
// ref has one.
func (r *Reader) choose(ref archiveReference) (*catalog.Image, string, error) {
	name := ""
	if ref.name != nil {
		name = ref.name.String()
	}
	img, tag, err := r.catalog.Choose(name, ref.index)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %s: %w", ref.transport.name, ref.path, err)
	}
	return img, tag, nil
}
