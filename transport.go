package dockerarchive

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/types"
)

// The transports of this package. They read the same archives and differ in what
// they write. Neither is registered by importing this package; see package
// register.
var (
	// Transport is "docker-archive", which writes what docker save wrote before
	// Docker 25 and containers/image still does: one platform, layers
	// uncompressed, no manifest.
	Transport = archiveTransport{name: "docker-archive", layout: dockerLayout{}}
	// ImageTransport is "image-archive", which writes an OCI image layout that
	// is a docker archive as well: all platforms, blobs as they are received,
	// digests kept.
	ImageTransport = archiveTransport{name: "image-archive", layout: ociLayout{}}
)

type archiveTransport struct {
	name   string
	layout layout
}

// Name returns the name that references of the transport begin with.
func (t archiveTransport) Name() string {
	return t.name
}

// ParseReference converts a string, which must not start with the transport's
// name, into an ImageReference; see the function of the same name.
func (t archiveTransport) ParseReference(ref string) (types.ImageReference, error) {
	return t.parse(ref)
}

// ValidatePolicyConfigurationScope refuses every scope: archives are known by
// the path only, which says nothing about who made them.
func (t archiveTransport) ValidatePolicyConfigurationScope(scope string) error {
	return fmt.Errorf(`%s: policy scope %q: only the default scope "" is supported`, t.name, scope)
}

// archiveReference names an image in an archive, or an archive.
type archiveReference struct {
	transport archiveTransport
	path      string
	// name is nil for the only image of an archive, or for an image without a name.
	name reference.Named
	// index is the zero-based position of an image to read, or -1.
	index int
	// reader and writer are set on references that belong to one.
	reader *Reader
	writer *Writer
	image  *archiveImage // the place of the image in writer
}

// ParseReference parses PATH, PATH:NAME[:TAG] or PATH:@INDEX into an
// ImageReference, with the grammar of containers/image's docker/archive: a
// name is normalised and gets the tag "latest" if it has none; an index counts
// the images of an archive from zero and is for reading only.
func ParseReference(ref string) (types.ImageReference, error) {
	return Transport.parse(ref)
}

func (t archiveTransport) parse(s string) (types.ImageReference, error) {
	if s == "" {
		return nil, fmt.Errorf("%s: empty reference, want <path>[:<name>[:<tag>]|:@<index>]", t.name)
	}
	path, image, hasImage := strings.Cut(s, ":")
	if !hasImage {
		return orNil(t.newReference(path, nil, -1))
	}
	if number, ok := strings.CutPrefix(image, "@"); ok {
		index, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("%s: parsing image index %q: %w", t.name, image, err)
		}
		if index < 0 {
			return nil, fmt.Errorf("%s: image index %q must not be negative", t.name, image)
		}
		return orNil(t.newReference(path, nil, index))
	}
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil, fmt.Errorf("%s: parsing image name %q: %w", t.name, image, err)
	}
	return orNil(t.newReference(path, reference.TagNameOnly(named), -1))
}

// NewReference returns a reference to the image with the given name, which may
// be nil, in the archive at path.
func NewReference(path string, ref reference.NamedTagged) (types.ImageReference, error) {
	var name reference.Named // Stays nil if ref is.
	if ref != nil {
		name = ref
	}
	return orNil(Transport.newReference(path, name, -1))
}

// NewIndexReference returns a reference, for reading only, to the image at a
// zero-based position in the archive at path.
func NewIndexReference(path string, sourceIndex int) (types.ImageReference, error) {
	if sourceIndex < 0 {
		return nil, fmt.Errorf("%s: image index @%d must not be negative", Transport.name, sourceIndex)
	}
	return orNil(Transport.newReference(path, nil, sourceIndex))
}

func (t archiveTransport) newReference(path string, name reference.Named, index int) (archiveReference, error) {
	if strings.Contains(path, ":") {
		return archiveReference{}, fmt.Errorf("%s: path %q contains a colon, which separates the path from the image name", t.name, path)
	}
	if name != nil && index != -1 {
		return archiveReference{}, fmt.Errorf("%s: a reference has a name or an index, not both: %s, @%d", t.name, name, index)
	}
	if _, ok := name.(reference.Digested); ok && !t.layout.keepsDigests() {
		return archiveReference{}, fmt.Errorf("%s: image name %s has a digest, which an archive of this kind cannot keep; write an image-archive instead", t.name, name)
	}
	return archiveReference{transport: t, path: path, name: name, index: index}, nil
}

// orNil makes the result of newReference a public one, which is nil if there is
// an error.
func orNil(ref archiveReference, err error) (types.ImageReference, error) {
	if err != nil {
		return nil, err
	}
	return ref, nil
}

// Transport returns the transport of the reference.
func (ref archiveReference) Transport() types.ImageTransport {
	return ref.transport
}

// StringWithinTransport returns a string that ParseReference turns into an
// equivalent reference.
func (ref archiveReference) StringWithinTransport() string {
	switch {
	case ref.name != nil:
		return ref.path + ":" + ref.name.String()
	case ref.index != -1:
		return fmt.Sprintf("%s:@%d", ref.path, ref.index)
	default:
		return ref.path
	}
}

// DockerReference returns the name of the image, or nil.
func (ref archiveReference) DockerReference() reference.Named {
	return ref.name
}

// PolicyConfigurationIdentity returns "": archives have no identity a policy
// could name.
func (ref archiveReference) PolicyConfigurationIdentity() string {
	return ""
}

// PolicyConfigurationNamespaces returns no namespaces.
func (ref archiveReference) PolicyConfigurationNamespaces() []string {
	return []string{}
}

// NewImage returns the image; the caller must close it. For an archive that
// holds an image index, see NewImageSource.
func (ref archiveReference) NewImage(ctx context.Context, sys *types.SystemContext) (types.ImageCloser, error) {
	src, err := ref.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	img, err := image.FromSource(ctx, sys, src)
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return img, nil
}

// NewImageSource opens the image for reading; the caller must close it.
func (ref archiveReference) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	return newImageSource(ctx, sys, ref)
}

// NewImageDestination opens the archive for writing; the caller must close the
// destination. The archive appears when the destination, or the Writer that the
// reference comes from, is committed.
func (ref archiveReference) NewImageDestination(ctx context.Context, sys *types.SystemContext) (types.ImageDestination, error) {
	return newImageDestination(ctx, sys, ref)
}

// DeleteImage fails: images cannot be taken out of an archive.
func (ref archiveReference) DeleteImage(ctx context.Context, sys *types.SystemContext) error {
	return fmt.Errorf("%s: deleting images is not supported", ref.transport.name)
}
