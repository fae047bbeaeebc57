package archive

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Manifest is a manifest or an index of an image, in OCI's or in Docker's format.
type Manifest struct {
	// Descriptor has at least the media type, the digest and the size; the rest as
	// far as the archive's index.json has it.
	imgspecv1.Descriptor
	// Data is the document, byte for byte. The caller must not change it.
	Data []byte
	// Made is set if the archive has no manifest of the image and this one was made
	// for it: its digest is not one that a registry knows. Its layers are
	// uncompressed, and their digests are their diff IDs.
	Made bool

	image  *Image
	fields fields
}

// fields are what matters of a manifest or an index. They are the same in both
// formats.
type fields struct {
	Config    *imgspecv1.Descriptor  `json:"config"`
	Layers    []imgspecv1.Descriptor `json:"layers"`
	Manifests []imgspecv1.Descriptor `json:"manifests"`
}

func (i *Image) newManifest(d imgspecv1.Descriptor, mediaType string, data []byte, made bool) (*Manifest, error) {
	d.MediaType, d.Size = mediaType, int64(len(data))
	m := &Manifest{Descriptor: d, Data: data, Made: made, image: i}
	if err := image.Decode("manifest "+d.Digest.String(), data, &m.fields); err != nil {
		return nil, i.fail(err)
	}
	return m, nil
}

// IsIndex reports whether m lists manifests, not a config and layers.
func (m *Manifest) IsIndex() bool { return m.fields.Config == nil && m.fields.Manifests != nil }

// Manifests returns what an index lists: manifests of platforms, but also others
// about them, such as attestations; see Image.Describe. The caller must not change
// them.
func (m *Manifest) Manifests() []imgspecv1.Descriptor { return m.fields.Manifests }

// Config returns the config of a manifest, byte for byte and verified. It is that
// of an image, unless the manifest is of another kind of artifact.
func (m *Manifest) Config(ctx context.Context) ([]byte, error) {
	if m.fields.Config == nil {
		return nil, m.image.fail(fmt.Errorf("%s has no config: it is no manifest", m.Digest))
	}
	b, err := m.image.image.Blob(ctx, m.fields.Config.Digest)
	if err != nil {
		return nil, m.image.fail(fmt.Errorf("config: %w", err))
	}
	data, err := b.ReadDocument(ctx)
	if err != nil {
		return nil, m.image.fail(fmt.Errorf("config: %w", err))
	}
	return data, nil
}

// Layers returns the layers of a manifest, the lowest first. They need not be in
// the archive.
func (m *Manifest) Layers(ctx context.Context) ([]Layer, error) {
	config, err := m.Config(ctx)
	if err != nil {
		return nil, err
	}
	diffIDs, err := m.diffIDs(config)
	if err != nil {
		return nil, m.image.fail(err)
	}
	layers := make([]Layer, len(m.fields.Layers))
	for n, d := range m.fields.Layers {
		layers[n] = Layer{Descriptor: d, image: m.image}
		if diffIDs != nil {
			layers[n].DiffID = diffIDs[n]
		}
	}
	return layers, nil
}

// diffIDs returns one diff ID for each layer, or nil if the config is not of an
// image: those say what the layers unpack to.
func (m *Manifest) diffIDs(config []byte) ([]digest.Digest, error) {
	name := m.fields.Config.Digest.String()
	parsed, err := image.ParseConfig(name, config)
	switch {
	case err != nil && (image.IsConfigType(m.fields.Config.MediaType) || image.IsConfig(config)):
		return nil, err
	case err != nil || !parsed.HasRootFS:
		return nil, nil
	case len(parsed.DiffIDs) != len(m.fields.Layers):
		return nil, errdef.Errorf(errdef.ErrDamaged, "config %s has %d diff IDs, but its manifest %s has %d layers", name, len(parsed.DiffIDs), m.Digest, len(m.fields.Layers))
	}
	return parsed.DiffIDs, nil
}

// Layer is a layer of a manifest. Its Descriptor is as the manifest has it.
type Layer struct {
	imgspecv1.Descriptor
	// DiffID is the digest of the uncompressed layer, empty if the manifest is not
	// of an image.
	DiffID digest.Digest

	image *Image
}

// Blob returns the layer as it is in the manifest: compressed, if its media type
// says so. The error wraps fs.ErrNotExist if it is not in the archive; it may have
// URLs then.
func (l *Layer) Blob(ctx context.Context) (*Blob, error) { return l.image.Blob(ctx, l.Digest) }

// Open returns the files of the layer: a tar stream, uncompressed. Reading fails
// at its end with an errdef.MismatchError if it is not what the diff ID says, and
// when ctx ends; the stream may go on where its last file ends, and is not verified
// before that has been read too. Its other errors are those of Blob.
func (l *Layer) Open(ctx context.Context) (io.ReadCloser, error) {
	b, err := l.Blob(ctx)
	if err != nil {
		return nil, err
	}
	stream, err := b.blob.OpenUnpacked(ctx, l.DiffID)
	if err != nil {
		return nil, l.image.fail(err)
	}
	return stream, nil
}

// Blob is a config or a layer as a manifest describes it.
type Blob struct {
	Digest digest.Digest
	Size   int64 // in bytes

	blob catalog.Blob
}

// Open returns the content. At its end, reading fails with an
// errdef.MismatchError if it is not what the digest says. It also fails when ctx
// ends.
func (b *Blob) Open(ctx context.Context) (io.ReadCloser, error) { return b.blob.OpenVerified(ctx) }

// Section returns where in the archive the blob is stored, so that it can be sent
// without being copied; its method Outer tells the offset in what was given to
// New. It returns nil if the archive has the blob in another form, such as
// compressed or without its holes, or not as a file. The content is not verified: the
// caller leaves that to the receiver, or reads all of Open once.
func (b *Blob) Section() *io.SectionReader { return b.blob.Section() }

// IsBorrowed reports whether the blob is a layer that the archive is without, and that comes
// from the Bases of its Opener.
func (b *Blob) IsBorrowed() bool { return b.blob.IsBorrowed() }

// Borrow returns a layer that IsBorrowed, for reading anywhere and concurrently, until done
// is called. It has been verified if it was made by a delta, else it has not.
func (b *Blob) Borrow(ctx context.Context) (r *io.SectionReader, done func(), err error) {
	loan, err := b.blob.Borrow(ctx)
	if err != nil {
		return nil, nil, err
	}
	return loan.SectionReader, loan.Return, nil
}
