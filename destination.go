package dockerarchive

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
)

// maxConfigSize bounds the configs that are held in memory; it is the limit of
// containers/image.
const maxConfigSize = 4 << 20

// imageDestination writes one image of a Writer. It implements
// types.ImageDestination.
type imageDestination struct {
	ref        archiveReference
	writer     *Writer
	ownsWriter bool // until the Writer is closed
	image      *archiveImage
	names      []reference.Named

	// What has been put, by digest. Configs and manifests are not put
	// concurrently with each other.
	configs   map[digest.Digest][]byte
	manifests map[digest.Digest][]byte
	manifest  manifest.Manifest // of the image, in layouts that hold single images only
	top       digest.Digest     // of the manifest or index of the image, in others
	complete  *completeImage
	committed bool
}

func newImageDestination(_ context.Context, sys *types.SystemContext, ref archiveReference) (types.ImageDestination, error) {
	if err := ref.writable(); err != nil {
		return nil, err
	}
	d := &imageDestination{
		ref: ref, writer: ref.writer,
		configs: map[digest.Digest][]byte{}, manifests: map[digest.Digest][]byte{},
	}
	if ref.name != nil {
		d.names = append(d.names, ref.name)
	}
	if sys != nil {
		for _, name := range sys.DockerArchiveAdditionalTags {
			d.names = append(d.names, name)
		}
	}
	image := ref.image
	if d.writer == nil {
		w, err := NewWriter(sys, ref.path, WithTransport(ref.transport))
		if err != nil {
			return nil, err
		}
		d.writer, d.ownsWriter = w, true
		image = w.newImage()
	}
	image, err := d.writer.open(image)
	if err != nil {
		return nil, err
	}
	d.image = image
	return d, nil
}

// writable fails for references that only make sense for reading.
func (ref archiveReference) writable() error {
	if ref.index != -1 {
		return fmt.Errorf("%s:%s: an image is written under a name or without one, not at an index", ref.transport.name, ref.StringWithinTransport())
	}
	return nil
}

// Reference returns the reference used to set up this destination.
func (d *imageDestination) Reference() types.ImageReference { return d.ref }

// Close releases what the destination holds. Without a Commit before it, the
// image is not part of the archive.
func (d *imageDestination) Close() error {
	d.writer.blobs.release(d)
	if !d.committed {
		d.writer.abandon(d.image)
	}
	if !d.ownsWriter {
		return nil
	}
	d.ownsWriter = false
	return d.writer.Abort()
}

// SupportedManifestMIMETypes returns the types that the layout can hold.
func (d *imageDestination) SupportedManifestMIMETypes() []string {
	return d.writer.layout.manifestTypes()
}

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
func (d *imageDestination) HasThreadSafePutBlob() bool { return d.writer.threadSafe() }

// PutBlob stores a layer, decompressed, or a config. A blob that is in the
// archive already is not read. It returns the digest and size of the blob as it
// was received.
//
// The stream's digest is verified by the caller, who fails the last read if it
// does not match; a layer's diff ID is verified by PutManifest.
func (d *imageDestination) PutBlob(ctx context.Context, stream io.Reader, inputInfo types.BlobInfo, _ types.BlobInfoCache, isConfig bool) (types.BlobInfo, error) {
	put := d.putBlob
	kind := "layer"
	if isConfig {
		put, kind = d.putConfig, "config"
	}
	info, err := put(ctx, stream, inputInfo)
	if err != nil {
		name := inputInfo.Digest.String()
		if name == "" {
			name = "of unknown digest"
		}
		return types.BlobInfo{}, fmt.Errorf("writing %s %s to %s: %w", kind, name, d.writer.path, err)
	}
	return info, nil
}

func (d *imageDestination) putConfig(ctx context.Context, stream io.Reader, info types.BlobInfo) (types.BlobInfo, error) {
	if err := ctx.Err(); err != nil {
		return types.BlobInfo{}, err
	}
	config, err := io.ReadAll(io.LimitReader(stream, maxConfigSize+1))
	switch {
	case err != nil:
		return types.BlobInfo{}, err
	case len(config) > maxConfigSize:
		return types.BlobInfo{}, fmt.Errorf("larger than %d bytes, which is more than a config may have", maxConfigSize)
	case info.Size >= 0 && info.Size != int64(len(config)):
		return types.BlobInfo{}, fmt.Errorf("%d bytes instead of the %d announced", len(config), info.Size)
	}
	if info.Digest == "" {
		info.Digest = digest.FromBytes(config)
	} else if err := info.Digest.Validate(); err != nil {
		return types.BlobInfo{}, err
	}
	if err := d.writer.layout.putConfig(ctx, d, config, info.Digest); err != nil {
		return types.BlobInfo{}, err
	}
	return types.BlobInfo{Digest: info.Digest, Size: int64(len(config))}, nil
}

// TryReusingBlob reports whether the archive has a layer already, from this or
// another image of the Writer. If another image's copy of it is on its way, it
// waits for that; if not, the caller is expected to deliver the layer, and others
// who ask for it wait.
func (d *imageDestination) TryReusingBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache, _ bool) (bool, types.BlobInfo, error) {
	if info.Digest == "" {
		return false, types.BlobInfo{}, errors.New("looking for a blob: its digest is unknown")
	}
	blob, ok, err := d.writer.blobs.find(ctx, d, info.Digest)
	if err != nil {
		return false, types.BlobInfo{}, fmt.Errorf("looking for layer %s in %s: %w", info.Digest, d.writer.path, err)
	}
	if !ok {
		return false, types.BlobInfo{}, nil
	}
	info.Size = blob.size
	return true, info, nil
}

// PutManifest checks that the archive can hold the image and has all of it, and
// keeps the manifest if the layout does. Of an index, instanceDigest tells the
// manifests that it lists, which come first. It returns a
// types.ManifestTypeRejectedError for types that the layout cannot hold.
func (d *imageDestination) PutManifest(ctx context.Context, m []byte, instanceDigest *digest.Digest) error {
	if err := d.writer.layout.putManifest(ctx, d, m, instanceDigest); err != nil {
		return fmt.Errorf("writing the manifest to %s: %w", d.writer.path, err)
	}
	if instanceDigest != nil {
		return nil
	}
	complete, err := d.writer.layout.complete(d, d.writer.contents)
	if err != nil {
		return fmt.Errorf("writing the manifest to %s: %w", d.writer.path, err)
	}
	d.complete = complete
	return nil
}

// PutSignatures fails if there are any: an archive holds no signatures.
func (d *imageDestination) PutSignatures(ctx context.Context, signatures [][]byte, _ *digest.Digest) error {
	if len(signatures) == 0 {
		return nil
	}
	return d.SupportsSignatures(ctx)
}

// Commit makes the image part of the archive. If the destination was not made
// from a reference of a Writer, the archive then appears at its path; else that
// happens when the Writer is closed.
func (d *imageDestination) Commit(ctx context.Context, _ types.UnparsedImage) error {
	if d.complete == nil {
		return fmt.Errorf("committing an image to %s: its manifest has not been written", d.writer.path)
	}
	if err := d.writer.commit(ctx, d.image, d.complete); err != nil {
		return err
	}
	d.committed = true
	if !d.ownsWriter {
		return nil
	}
	d.ownsWriter = false
	return d.writer.close(ctx)
}
