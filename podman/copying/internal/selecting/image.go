package selecting

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// Wanted is an image that is asked for. See copying.Image for the fields.
type Wanted struct {
	Source    types.ImageReference
	SourceCtx *types.SystemContext
	Name      reference.Named
	Names     []reference.Named
	FreeName  string
	Whole     bool
	Found     bool
	Referrer  bool
	Platform  *imgspecv1.Platform
}

// Image is an image of a Selection.
type Image struct {
	Wanted
	src     types.ImageSource
	blobs   *sources.Blobs // of src
	fetched *fetching.Image
	origins origins   // nil if src has none
	partial partial   // nil if src is no archive
	placed  placed    // likewise
	about   *referrer // nil of an image that is asked for
	// exported is set for an image that a daemon has sent: a daemon that has pulled one
	// platform keeps the whole index.
	exported bool

	// Known once its manifests have been read.
	Digest    digest.Digest // of the manifest or index
	top       digest.Digest // of the image or index at the source, before anything is chosen
	found     map[digest.Digest]*image.Document
	Documents []*image.Document // in the order of the archive
	Needed    []*fetching.Blob  // layers and configs, likewise, each document's
	Warnings  []string
	Missing   []string      // digests of manifests that its index lists
	dropped   digest.Digest // of the index that it is taken from, if that is not saved
	Platforms []string      // of the configs, once these have been read
	signed    bool          // or that is not known, and one of the warnings says so
}

// origins are sources that know the entry of an image in Docker's manifest.json.
type origins interface {
	Origin(config digest.Digest) image.Origin
}

// partial are sources that may be without layers on purpose, and say where those are, and
// why other blobs are missing.
type partial interface {
	LeftOut(d digest.Digest) (where image.Elsewhere, ok bool)
	Missing(ctx context.Context, d digest.Digest) error
}

// placed is a source that knows where in a file a layer is stored, and the digest of these bytes.
type placed interface {
	Stored(ctx context.Context, d digest.Digest) (*io.SectionReader, digest.Digest, error)
}

// exported are sources of images that a daemon has sent as it has them.
type exported interface{ Exported() bool }

// Open implements fetching.Source.
func (i *Image) Open(ctx context.Context, blob imgspecv1.Descriptor, offset int64) (io.ReadCloser, error) {
	return i.blobs.Open(ctx, blob, offset)
}

// Stored implements fetching.StoredSource.
func (i *Image) Stored(ctx context.Context, d digest.Digest) *io.SectionReader {
	if i.placed == nil {
		return nil
	}
	at, stored, err := i.placed.Stored(ctx, d)
	if err != nil || stored != d { // Open reports the error.
		return nil
	}
	return at
}

// ReadEnd implements fetching.EndSource.
func (i *Image) ReadEnd(ctx context.Context, blob imgspecv1.Descriptor, n int) ([]byte, error) {
	return i.blobs.ReadEnd(ctx, blob, n)
}

// Host implements fetching.RangeSource.
func (i *Image) Host() string { return i.blobs.Host() }

// Prepared implements fetching.RangeSource.
func (i *Image) Prepared(ctx context.Context) bool { return i.blobs.Prepared(ctx) }

// OpenRange implements fetching.RangeSource.
func (i *Image) OpenRange(ctx context.Context, blob imgspecv1.Descriptor, offset, length int64) (io.ReadCloser, error) {
	return i.blobs.OpenRange(ctx, blob, offset, length)
}

// Warn records a warning about an image.
func (i *Image) Warn(format string, args ...any) {
	i.Warnings = append(i.Warnings, fmt.Sprintf(format, args...))
}

// Top returns the manifest or index that the names of an image stand for.
func (i *Image) Top() *image.Document { return i.Documents[len(i.Documents)-1] }

// Has reports whether an image leads to a manifest or index that has been read.
func (i *Image) Has(d digest.Digest) bool { return i.found[d] != nil }

// IsMade reports whether the source had to make up the manifest.
func (i *Image) IsMade(ctx context.Context) bool {
	made, ok := i.src.(interface{ Made(context.Context) bool })
	return ok && made.Made(ctx)
}

// less returns an image without layers that are not wanted.
func (i *Image) less(leavesOut func(imgspecv1.Descriptor) bool) *Image {
	less := *i
	less.Needed, less.Warnings = nil, nil
	less.Documents = make([]*image.Document, len(i.Documents))
	for n, document := range i.Documents {
		less.Documents[n] = withoutLayers(document, leavesOut)
	}
	return &less
}

// replacing returns an image with deltas in the place of layers.
func (i *Image) replacing(deltas image.LeftOut) *Image {
	other := i.less(func(l imgspecv1.Descriptor) bool { return deltas[l.Digest].Delta != nil })
	other.Warnings = i.Warnings
	for _, document := range other.Documents {
		leftOut := image.LeftOut{}
		maps.Copy(leftOut, document.LeftOut)
		for _, l := range document.Layers {
			if made := deltas[l.Digest]; made.Delta != nil {
				leftOut[l.Digest] = made
			}
		}
		document.LeftOut = leftOut
	}
	return other
}

// Size returns how many bytes the blobs of an image have, -1 if that is not known.
func (i *Image) Size() int64 {
	var sum int64
	seen := map[digest.Digest]bool{}
	for _, blob := range i.Needed {
		if blob.Kind == image.KindDocument || seen[blob.Digest] {
			continue
		}
		if blob.Size < 0 {
			return -1
		}
		seen[blob.Digest] = true
		sum += blob.Size
	}
	return sum
}

// describe keeps the platforms that the configs say.
func (i *Image) describe(content *image.Image) {
	for _, document := range i.Documents {
		if document.Config == nil {
			continue
		}
		d := document.Config.Digest
		config, err := image.ParseConfig(d.String(), content.Configs[d])
		if err != nil || config.Platform.OS == "" || config.Platform.OS == "unknown" {
			continue // It belongs to an attestation, or to something else than an image.
		}
		if p := image.PlatformString(&config.Platform); !slices.Contains(i.Platforms, p) {
			i.Platforms = append(i.Platforms, p)
		}
	}
}

// referrer is the part of an Image that is about another.
type referrer struct {
	parents []*Image // the images or referrers it was found for
	subject digest.Digest
	isList  bool // it is an index of referrers, under the tag for it
	keep    bool // it is to be saved
}

// withoutLayers returns a document without the layers that the archive leaves out.
func withoutLayers(document *image.Document, leavesOut func(imgspecv1.Descriptor) bool) *image.Document {
	less := *document
	less.Absent = maps.Clone(document.Absent)
	for _, l := range document.Layers {
		if !leavesOut(l) {
			continue
		}
		if less.Absent == nil {
			less.Absent = map[digest.Digest]bool{}
		}
		less.Absent[l.Digest] = true
	}
	return &less
}
