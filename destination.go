package dockerarchive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
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
	names      []reference.NamedTagged

	// Set by PutBlob with isConfig, which is not called concurrently with
	// itself, and PutManifest.
	config       []byte
	configDigest digest.Digest
	metadata     *imageMetadata
	committed    bool
}

func newImageDestination(_ context.Context, sys *types.SystemContext, ref archiveReference) (types.ImageDestination, error) {
	if err := ref.writable(); err != nil {
		return nil, err
	}
	d := &imageDestination{ref: ref, writer: ref.writer}
	if ref.name != nil {
		d.names = append(d.names, ref.name)
	}
	if sys != nil {
		d.names = append(d.names, sys.DockerArchiveAdditionalTags...)
	}
	image := ref.image
	if d.writer == nil {
		w, err := NewWriter(sys, ref.path)
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
	d.writer.layers.release(d)
	if !d.committed {
		d.writer.abandon(d.image)
	}
	if !d.ownsWriter {
		return nil
	}
	d.ownsWriter = false
	return d.writer.Abort()
}

// SupportedManifestMIMETypes returns the types of single images, in the order of
// preference, which is of no consequence: the archive holds neither.
func (d *imageDestination) SupportedManifestMIMETypes() []string {
	return []string{imgspecv1.MediaTypeImageManifest, manifest.DockerV2Schema2MediaType}
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
	put := d.putLayer
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
	d.config, d.configDigest = config, info.Digest
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
	blob, ok, err := d.writer.layers.find(ctx, d, info.Digest)
	if err != nil {
		return false, types.BlobInfo{}, fmt.Errorf("looking for layer %s in %s: %w", info.Digest, d.writer.path, err)
	}
	if !ok {
		return false, types.BlobInfo{}, nil
	}
	info.Size = blob.size
	return true, info, nil
}

// PutManifest checks that the archive can hold the image and has all of it. It
// returns a types.ManifestTypeRejectedError for manifests that are neither OCI
// nor schema 2.
func (d *imageDestination) PutManifest(_ context.Context, m []byte, instanceDigest *digest.Digest) error {
	metadata, err := d.describe(m, instanceDigest)
	if err != nil {
		return fmt.Errorf("writing the manifest to %s: %w", d.writer.path, err)
	}
	d.metadata = metadata
	return nil
}

func (d *imageDestination) describe(m []byte, instanceDigest *digest.Digest) (*imageMetadata, error) {
	mimeType := manifest.GuessMIMEType(m)
	if manifest.MIMETypeIsMultiImage(mimeType) || instanceDigest != nil {
		return nil, errors.New("an archive of this kind holds single-platform images, not a manifest list or an index; choose a platform")
	}
	if !slices.Contains(d.SupportedManifestMIMETypes(), mimeType) {
		return nil, types.ManifestTypeRejectedError{Err: fmt.Errorf("manifest type %q is neither OCI nor Docker schema 2", mimeType)}
	}
	parsed, err := manifest.FromBlob(m, mimeType)
	if err != nil {
		return nil, fmt.Errorf("parsing it: %w", err)
	}
	config := parsed.ConfigInfo()
	switch config.MediaType {
	case imgspecv1.MediaTypeImageConfig, manifest.DockerV2Schema2ConfigMediaType:
	default:
		return nil, fmt.Errorf("its config is of type %q, so this is not a container image but an artifact, which an archive of this kind cannot hold; copy it to oci: or oci-archive: instead", config.MediaType)
	}
	if d.config == nil || d.configDigest != config.Digest {
		return nil, fmt.Errorf("its config %s has not been written", config.Digest)
	}
	layers, err := d.findLayers(parsed.LayerInfos())
	if err != nil {
		return nil, err
	}
	return newImageMetadata(d.config, d.configDigest, layers, d.names)
}

// findLayers returns the layers of the image, checked against its config.
func (d *imageDestination) findLayers(infos []manifest.LayerInfo) ([]*storedLayer, error) {
	var config imgspecv1.Image
	if err := json.Unmarshal(d.config, &config); err != nil {
		return nil, fmt.Errorf("parsing config %s: %w", d.configDigest, err)
	}
	diffIDs := config.RootFS.DiffIDs
	if len(diffIDs) != len(infos) {
		return nil, fmt.Errorf("config %s lists %d layers, the manifest %d", d.configDigest, len(diffIDs), len(infos))
	}
	layers := make([]*storedLayer, len(infos))
	for i, info := range infos {
		layer := d.writer.layers.byDigest(info.Digest)
		switch {
		case strings.HasSuffix(info.MediaType, "+encrypted"):
			return nil, fmt.Errorf("layer %s is encrypted; decrypt the image while copying it", info.Digest)
		case layer == nil:
			return nil, fmt.Errorf("layer %s has not been written", info.Digest)
		case layer.diffID != diffIDs[i]:
			return nil, fmt.Errorf("layer %s has the diff ID %s, but config %s says %s", info.Digest, layer.diffID, d.configDigest, diffIDs[i])
		}
		layers[i] = layer
	}
	return layers, nil
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
	if d.metadata == nil {
		return fmt.Errorf("committing an image to %s: its manifest has not been written", d.writer.path)
	}
	if err := d.writer.commit(ctx, d.image, d.metadata); err != nil {
		return err
	}
	d.committed = true
	if !d.ownsWriter {
		return nil
	}
	d.ownsWriter = false
	return d.writer.close(ctx)
}
