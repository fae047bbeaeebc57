package dockerarchive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/internal/writing"
)

// imageDestination writes one image of a Writer. It implements
// types.ImageDestination.
type imageDestination struct {
	ref     archiveReference
	archive *writing.Archive
	layout  layout.Layout
	place   *writing.Image
	names   []string
	absent  map[digest.Digest]bool // layers that stay elsewhere
	origins []originator
	filler  atomic.Bool // a schema 1 image's empty layer was left out

	mu         sync.Mutex // never held for long
	ownsWriter bool       // until the archive is closed
	// Configs and manifests that have been put, by digest.
	configs   map[digest.Digest][]byte
	documents map[digest.Digest]*image.Document
	complete  *image.Image // nil before the manifest of the image itself
	committed bool
}

func newImageDestination(ctx context.Context, sys *types.SystemContext, ref archiveReference) (types.ImageDestination, error) {
	if err := ref.writable(); err != nil {
		return nil, err
	}
	d := &imageDestination{
		ref: ref, place: ref.place,
		configs: map[digest.Digest][]byte{}, documents: map[digest.Digest]*image.Document{},
	}
	if name := ref.storedName(); name != "" {
		d.names = append(d.names, name)
	}
	if sys != nil {
		for _, name := range sys.DockerArchiveAdditionalTags {
			d.names = append(d.names, name.String())
		}
	}
	writer := ref.writer
	if writer == nil {
		var err error
		if writer, err = openOrCreate(ctx, sys, ref.path, &WriterOptions{Transport: ref.transport}); err != nil {
			return nil, err
		}
		d.ownsWriter = true
		d.place = writer.archive.NewImage()
	}
	d.absent, d.origins = writer.absent, writer.origins
	d.archive, d.layout = writer.archive, writer.archive.Layout()
	var err error
	if d.place, err = d.archive.Open(d.place); err != nil {
		return nil, err
	}
	return d, nil
}

// writable fails for references that only make sense for reading.
func (ref archiveReference) writable() error {
	if ref.index != -1 {
		return fmt.Errorf("%s:%s: an image is written under a name or without one, not at an index", ref.transport.name, ref.StringWithinTransport())
	}
	if ref.name == nil && ref.free != "" && !ref.transport.oci {
		return fmt.Errorf("%s:%s: an archive of this kind has names of the form NAME:TAG only", ref.transport.name, ref.StringWithinTransport())
	}
	return nil
}

// storedName returns the name under which an image is written, "" for none.
func (ref archiveReference) storedName() string {
	if ref.name == nil {
		return ref.free
	}
	_, digested := ref.name.(reference.Digested)
	_, tagged := ref.name.(reference.Tagged)
	if digested && !tagged && !ref.transport.oci {
		logrus.Warnf("%s: an archive of this kind keeps no digests: %s is stored without a name", ref.transport.name, ref.name)
	}
	return ref.name.String()
}

// Reference returns the reference used to set up this destination.
func (d *imageDestination) Reference() types.ImageReference { return d.ref }

// Close releases what the destination holds. Without a Commit before it, the
// image is not part of the archive.
func (d *imageDestination) Close() error {
	d.archive.Release(d)
	d.mu.Lock()
	committed := d.committed
	d.mu.Unlock()
	if !committed {
		d.archive.Abandon(d.place)
	}
	if !d.disown() {
		return nil
	}
	return d.archive.Abort()
}

// disown reports whether the destination has to end its archive; the caller then does
// it.
func (d *imageDestination) disown() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	owned := d.ownsWriter
	d.ownsWriter = false
	return owned
}

// SupportedManifestMIMETypes returns the types that the layout can hold.
func (d *imageDestination) SupportedManifestMIMETypes() []string { return d.layout.Types() }

// SupportsSignatures returns an error: an archive holds no signatures.
func (d *imageDestination) SupportsSignatures(context.Context) error {
	return fmt.Errorf("%s: signatures cannot be stored in an archive of this kind", d.ref.transport.name)
}

// DesiredLayerCompression is PreserveOriginal: layers come with the digest and
// size that the source knows them by, and are decompressed here.
func (d *imageDestination) DesiredLayerCompression() types.LayerCompression {
	return types.PreserveOriginal
}

// AcceptsForeignLayerURLs is false: an archive is for where the URLs do not reach.
func (d *imageDestination) AcceptsForeignLayerURLs() bool { return false }

// MustMatchRuntimeOS is false.
func (d *imageDestination) MustMatchRuntimeOS() bool { return false }

// IgnoresEmbeddedDockerReference is true: manifests of the supported types have none.
func (d *imageDestination) IgnoresEmbeddedDockerReference() bool { return true }

// HasThreadSafePutBlob is true unless the archive is a stream without a plan,
// where concurrent blobs would end up in the order in which they arrive.
func (d *imageDestination) HasThreadSafePutBlob() bool { return d.archive.Concurrent() }

// PutBlob stores a layer, decompressed if the layout wants that, or a config. A
// blob that is in the archive already is not read. It returns the digest and size
// of the blob as it was received.
//
// The caller verifies the stream's digest, and fails the last read if it does not
// match; PutManifest verifies a layer's diff ID.
func (d *imageDestination) PutBlob(ctx context.Context, stream io.Reader, inputInfo types.BlobInfo, _ types.BlobInfoCache, isConfig bool) (types.BlobInfo, error) {
	kind := "layer"
	var info types.BlobInfo
	var err error
	switch {
	case isConfig:
		kind = "config"
		info, err = d.putConfig(ctx, stream, inputInfo)
	case isFiller(inputInfo):
		d.filler.Store(true)
		info = filler(types.BlobInfo{Digest: inputInfo.Digest})
		_, err = io.Copy(io.Discard, stream) // The digest is verified at the end.
	default:
		info.Digest, info.Size, err = d.archive.Put(ctx, d, stream, inputInfo.Digest, inputInfo.Size)
	}
	if err != nil {
		name := inputInfo.Digest.String()
		if name == "" {
			name = "of unknown digest"
		}
		return types.BlobInfo{}, fmt.Errorf("writing %s %s to %s: %w", kind, name, d.archive.Path(), err)
	}
	return info, nil
}

// putConfig keeps a config until the image is complete, for the archive's tables of
// contents, and stores it if the layout keeps manifests, which refer to it.
func (d *imageDestination) putConfig(ctx context.Context, stream io.Reader, info types.BlobInfo) (types.BlobInfo, error) {
	if err := ctx.Err(); err != nil {
		return types.BlobInfo{}, err
	}
	config, err := io.ReadAll(io.LimitReader(stream, image.MaxDocument+1))
	switch {
	case err != nil:
		return types.BlobInfo{}, err
	case len(config) > image.MaxDocument:
		return types.BlobInfo{}, fmt.Errorf("%w: larger than %d bytes, which is more than a config may have", errdef.ErrLimit, image.MaxDocument)
	case info.Size >= 0 && info.Size != int64(len(config)):
		return types.BlobInfo{}, fmt.Errorf("%d bytes instead of the %d announced", len(config), info.Size)
	}
	if info.Digest == "" {
		info.Digest = digest.FromBytes(config)
	} else if err := info.Digest.Validate(); err != nil {
		return types.BlobInfo{}, err
	}
	d.mu.Lock()
	d.configs[info.Digest] = config
	d.mu.Unlock()
	if !d.layout.Unpacks() {
		if err := d.archive.PutBytes(ctx, d, config, info.Digest); err != nil {
			return types.BlobInfo{}, err
		}
	}
	return types.BlobInfo{Digest: info.Digest, Size: int64(len(config))}, nil
}

// TryReusingBlob reports whether the archive has a layer already, from this or
// another image of the Writer. If another image's copy of it is on its way, it waits
// for that; if not, the caller is expected to deliver the layer, and other callers
// wait. A layer that a Plan leaves out counts as there.
func (d *imageDestination) TryReusingBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache, _ bool) (bool, types.BlobInfo, error) {
	if info.Digest == "" {
		return false, types.BlobInfo{}, errors.New("looking for a blob: its digest is unknown")
	}
	if d.leftOut(info) {
		return true, info, nil
	}
	if isFiller(info) {
		d.filler.Store(true)
		return true, filler(info), nil
	}
	size, ok, err := d.archive.Find(ctx, d, info.Digest)
	if err != nil {
		return false, types.BlobInfo{}, fmt.Errorf("looking for layer %s in %s: %w", info.Digest, d.archive.Path(), err)
	}
	if !ok {
		return false, types.BlobInfo{}, nil
	}
	info.Size = size
	return true, info, nil
}

// leftOut reports whether a layer is known to stay where its URLs lead.
func (d *imageDestination) leftOut(info types.BlobInfo) bool {
	return !d.layout.Unpacks() && len(info.URLs) > 0 && d.absent[info.Digest]
}

// PutManifest checks that the archive can hold the image and has all of it, and
// keeps the manifest if the layout does. For an index, instanceDigest tells its
// manifests apart; they come before it. It returns a types.ManifestTypeRejectedError
// for types that the layout cannot hold.
func (d *imageDestination) PutManifest(ctx context.Context, m []byte, instanceDigest *digest.Digest) error {
	if err := d.putManifest(ctx, m, instanceDigest); err != nil {
		var rejected *layout.TypeError
		if errors.As(err, &rejected) {
			err = types.ManifestTypeRejectedError{Err: rejected}
		}
		return fmt.Errorf("writing the manifest to %s: %w", d.archive.Path(), err)
	}
	return nil
}

func (d *imageDestination) putManifest(ctx context.Context, m []byte, instance *digest.Digest) error {
	if instance == nil {
		m = d.truthful(m)
	}
	document, err := image.ParseDocument(m, "")
	if err != nil {
		return fmt.Errorf("parsing it: %w", err)
	}
	if err := d.layout.Check(document); err != nil {
		return err
	}
	if instance != nil {
		if d.layout.Unpacks() {
			return layout.ErrIndex
		}
		if err := instance.Validate(); err != nil {
			return err
		}
		if got := instance.Algorithm().FromBytes(m); got != *instance {
			return &errdef.MismatchError{Name: "the manifest", Want: *instance, Got: got}
		}
		document.Descriptor.Digest = *instance
	}
	if !d.layout.Unpacks() {
		document.Absent = d.absent
	}
	if err := d.putFiller(ctx, document); err != nil {
		return err
	}
	img, err := d.imageOf(document)
	if err != nil {
		return err
	}
	if err := d.archive.Check(img); err != nil {
		return err
	}
	if !d.layout.Unpacks() {
		if err := d.archive.PutBytes(ctx, d, m, document.Descriptor.Digest); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.documents[document.Descriptor.Digest] = document
	if instance == nil {
		d.complete = img
	}
	return nil
}

// imageOf returns the image of a document from the parts that have been put so far.
func (d *imageDestination) imageOf(document *image.Document) (*image.Image, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	img := &image.Image{Names: d.names, Configs: map[digest.Digest][]byte{}, Origins: map[digest.Digest]image.Origin{}}
	var err error
	if img.Documents, err = image.Order(document, d.put); err != nil {
		return nil, err
	}
	for _, m := range img.Documents {
		if m.Config == nil {
			continue
		}
		config, ok := d.configs[m.Config.Digest]
		if !ok {
			continue
		}
		img.Configs[m.Config.Digest] = config
		for _, o := range d.origins {
			if origin := o.Origin(m.Config.Digest); origin.Parent != "" || origin.LayerSources != nil {
				img.Origins[m.Config.Digest] = origin
			}
		}
	}
	return img, nil
}

// truthful mends the media types of layers in a manifest that the source has made up,
// as that of docker-daemon: does. One that is asked for by its digest is not touched.
func (d *imageDestination) truthful(m []byte) []byte {
	document, err := image.ParseDocument(m, "")
	byDigest := slices.ContainsFunc(d.names, func(name string) bool { return strings.Contains(name, "@") })
	if err != nil || document.Config == nil || byDigest || d.layout.Unpacks() {
		return m
	}
	d.mu.Lock()
	config := d.configs[document.Config.Digest]
	d.mu.Unlock()
	mended := image.Truthful(m, config)
	if !bytes.Equal(m, mended) {
		logrus.Warnf("%s: the manifest, made up by its source, calls its layers compressed, which they are not: it is written with their true types", d.archive.Path())
	}
	return mended
}

// put returns a manifest that has been put, or nil: the archive has only those images
// of an index that the caller wants. d.mu must be held.
func (d *imageDestination) put(listed imgspecv1.Descriptor) (*image.Document, error) {
	return d.documents[listed.Digest], nil
}

// PutSignatures fails if there are any: an archive holds no signatures.
func (d *imageDestination) PutSignatures(ctx context.Context, signatures [][]byte, _ *digest.Digest) error {
	if len(signatures) == 0 {
		return nil
	}
	return d.SupportsSignatures(ctx)
}

// what names an image of the destination for a message.
func (d *imageDestination) what(img *image.Image) string {
	if len(d.names) > 0 {
		return d.names[0]
	}
	return "image " + img.Digest().String()
}

// Commit makes the image part of the archive. If the destination was not made
// from a reference of a Writer, the archive then appears at its path; else that
// happens when the Writer is closed.
func (d *imageDestination) Commit(ctx context.Context, _ types.UnparsedImage) error {
	d.mu.Lock()
	complete := d.complete
	d.mu.Unlock()
	if complete == nil {
		return fmt.Errorf("committing an image to %s: its manifest has not been written", d.archive.Path())
	}
	if err := d.archive.Commit(ctx, d.place, complete); err != nil {
		return err
	}
	d.mu.Lock()
	d.committed = true
	d.mu.Unlock()
	for _, w := range d.place.Warnings() {
		logrus.Warnf("%s: %s", d.archive.Path(), printable.String(w))
	}
	if reason := d.layout.LeftOut(complete); reason != "" {
		logrus.Warnf("%s: %s is left out of manifest.json, so that docker load does not see it: %s", d.archive.Path(), d.what(complete), reason)
	}
	if !d.disown() {
		return nil
	}
	return d.archive.Close(ctx)
}
