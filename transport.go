package dockerarchive

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	ctrimage "github.com/containers/image/v5/image"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/transports"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/address"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/writing"
)

// The transports of this package. They read the same archives and differ in what
// they write. Neither is registered by importing this package; see package
// register.
var (
	// Transport is "docker-archive", which writes what docker save wrote before
	// Docker 25 and containers/image still does: one platform, layers
	// uncompressed, no manifest.
	Transport = archiveTransport{name: "docker-archive"}
	// ImageTransport is "image-archive", which writes an OCI image layout that
	// is a docker archive as well: all platforms, blobs as they are received,
	// digests kept.
	ImageTransport = archiveTransport{name: "image-archive", oci: true}
)

// archiveTransport is comparable, as users of transports expect.
type archiveTransport struct {
	name string
	oci  bool
}

// metadata is what this package hands down to the layouts.
var metadata = layout.Metadata{File: fileHeader, Symlink: symlinkHeader, Directory: directoryHeader, Legacy: legacyLayers}

// Layout returns the layout that the transport writes. sys says which platform
// of an index Docker is offered. It is for the packages of this module.
func (t archiveTransport) Layout(sys *types.SystemContext) layout.Layout {
	if !t.oci {
		return layout.Docker{Metadata: metadata}
	}
	return layout.OCI{
		Metadata: metadata,
		Prefer: func(index *image.Document) (digest.Digest, bool) {
			list, err := manifest.ListFromBlob(index.Raw, index.Descriptor.MediaType)
			if err != nil {
				return "", false
			}
			d, err := list.ChooseInstance(sys)
			return d, err == nil
		},
	}
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

// ValidatePolicyConfigurationScope refuses every scope but those of addresses, such as s3://BUCKET/DIR and
// https://HOST: archives of this machine are known by the path only, which says nothing about their makers.
func (t archiveTransport) ValidatePolicyConfigurationScope(scope string) error {
	if address.IsScope(scope) {
		return nil
	}
	return fmt.Errorf(`%s: policy scope %q: only the default scope "" is supported, and s3://BUCKET[/DIR[/KEY]] and https://HOST[/DIR[/FILE]]`, t.name, scope)
}

// archiveReference names an image in an archive, or an archive.
type archiveReference struct {
	transport archiveTransport
	path      string
	// name is nil for the only image of an archive, or for an image without a name
	// or with one that is no NAME[:TAG][@DIGEST].
	name reference.Named
	// free is a name of another form; "" for none.
	free string
	// index is the zero-based position of an image to read, or -1.
	index int
	// reader and writer are set on references that belong to one.
	reader *Reader
	writer *Writer
	bases  *archive.Bases // that have layers which the archive is without; nil if none do
	place  *writing.Image // of the image in writer
}

// ParseReference parses PATH, PATH:NAME[:TAG][@DIGEST] or PATH:@INDEX into an
// ImageReference, with the grammar of containers/image's docker/archive: a name is
// normalised and gets the tag "latest" if it has neither tag nor digest; an index
// counts the images of an archive from zero and is for reading only.
//
// Beyond that grammar, a name may be any that the OCI image layout allows, such as
// V1.0_RC; and where a file is at a path with colons in it, that is the path.
func ParseReference(ref string) (types.ImageReference, error) {
	return Transport.parse(ref)
}

func (t archiveTransport) parse(s string) (types.ImageReference, error) {
	if s == "" {
		return nil, fmt.Errorf("%s: empty reference, want <path>[:<name>[:<tag>]|:@<index>]", t.name)
	}
	path, name, hasName := naming.Split(s)
	if !hasName {
		return archiveReference{transport: t, path: path, index: -1}, nil
	}
	if number, ok := strings.CutPrefix(name, "@"); ok {
		index, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("%s: parsing image index %q: %w", t.name, name, err)
		}
		if index < 0 {
			return nil, fmt.Errorf("%s: image index %q must not be negative", t.name, name)
		}
		return archiveReference{transport: t, path: path, index: index}, nil
	}
	ref := archiveReference{transport: t, path: path, index: -1}
	named, err := reference.ParseNormalizedNamed(name)
	switch {
	case err == nil:
		ref.name = reference.TagNameOnly(named)
	case naming.IsFree(name):
		ref.free = name
	default:
		return nil, fmt.Errorf("%s: parsing image name %q: %w", t.name, name, err)
	}
	return ref, nil
}

// NewReference returns a reference to the image with the given name, which may
// be nil, in the archive at path.
func NewReference(path string, ref reference.NamedTagged) (types.ImageReference, error) {
	var name reference.Named // Stays nil if ref is.
	if ref != nil {
		name = ref
	}
	if _, ok := name.(reference.Digested); ok {
		return nil, fmt.Errorf("%s: image name %s has a digest, for which an archive of this kind has no place", Transport.name, name)
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
	path = naming.HideQuery(path)
	if _, remote := naming.Scheme(path); !remote && strings.Contains(path, ":") && !naming.IsFile(path) {
		return archiveReference{}, fmt.Errorf("%s: path %q contains a colon, which separates the path from the image name", t.name, path)
	}
	if name != nil && index != -1 {
		return archiveReference{}, fmt.Errorf("%s: a reference has a name or an index, not both: %s, @%d", t.name, name, index)
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

// own returns ref as a reference of this package. One of containers/image's
// built-in transport is converted by its string, without the open archive that it
// may belong to.
func own(ref types.ImageReference) (archiveReference, error) {
	if ours, ok := ref.(archiveReference); ok {
		return ours, nil
	}
	if ref.Transport().Name() != Transport.name {
		return archiveReference{}, fmt.Errorf("%s: %s is not a reference to an archive", Transport.name, transports.ImageName(ref))
	}
	parsed, err := Transport.parse(ref.StringWithinTransport())
	if err != nil {
		return archiveReference{}, err
	}
	return parsed.(archiveReference), nil
}

// IsArchive reports whether ref names an archive by its path: it is of one of
// this package's transports, or of the one that containers/image has built in, and
// belongs to no open Reader or Writer of this package.
func IsArchive(ref types.ImageReference) bool {
	_, ok := ArchivePath(ref)
	return ok
}

// ArchivePath returns the path of the archive that ref names; ok is IsArchive.
func ArchivePath(ref types.ImageReference) (path string, ok bool) {
	ours, err := own(ref)
	if err != nil || ours.reader != nil || ours.writer != nil {
		return "", false
	}
	return ours.path, true
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
	case ref.free != "":
		return ref.path + ":" + ref.free
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

// PolicyConfigurationIdentity returns the address of an archive that is elsewhere, without a query string, and
// "" for one of this machine, which has no identity a policy could name.
func (ref archiveReference) PolicyConfigurationIdentity() string {
	identity, _ := address.Identity(ref.path)
	return identity
}

// PolicyConfigurationNamespaces returns the directories that an address is in, and its bucket or host, the
// narrowest first. There are none for an archive of this machine.
func (ref archiveReference) PolicyConfigurationNamespaces() []string {
	_, wider := address.Identity(ref.path)
	return append([]string{}, wider...)
}

// NewImage returns the image; the caller must close it. For an archive that
// holds an image index, see NewImageSource.
func (ref archiveReference) NewImage(ctx context.Context, sys *types.SystemContext) (types.ImageCloser, error) {
	src, err := ref.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	img, err := ctrimage.FromSource(ctx, sys, src)
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
// reference comes from, is committed. An existing archive is added to, as by
// OpenWriter.
func (ref archiveReference) NewImageDestination(ctx context.Context, sys *types.SystemContext) (types.ImageDestination, error) {
	return newImageDestination(ctx, sys, ref)
}

// DeleteImage fails: images cannot be taken out of an archive.
func (ref archiveReference) DeleteImage(ctx context.Context, sys *types.SystemContext) error {
	return fmt.Errorf("%s: deleting images is not supported", ref.transport.name)
}
