package dockerarchive

import (
	"context"

	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// layout is what differs between the kinds of archive.
type layout interface {
	// decompresses reports whether layers are stored uncompressed, under their
	// diff IDs, or all blobs as they are received.
	decompresses() bool
	// blobName returns the name of the entry that holds a blob.
	blobName(d digest.Digest) string
	// keepsDigests reports whether an image may be named by its digest, which
	// means that its manifest is kept.
	keepsDigests() bool
	// manifestTypes returns the types of manifests that are accepted.
	manifestTypes() []string
	// putConfig takes a config that has been read.
	putConfig(ctx context.Context, d *imageDestination, config []byte, configDigest digest.Digest) error
	// putManifest takes a manifest.
	putManifest(ctx context.Context, d *imageDestination, m []byte, instance *digest.Digest) error
	// complete returns the image that has been put, or an error if something of
	// it is missing.
	complete(d *imageDestination, c contents) (*completeImage, error)
	// newContents returns the metadata of an archive without images.
	newContents(sys *types.SystemContext) contents
}

// contents is the metadata of an archive.
type contents interface {
	// head returns the files that the archive starts with.
	head() ([]tarfile.Small, error)
	// tail returns the files that it ends with.
	tail() ([]tarfile.Small, error)
	// empty reports whether there is no image.
	empty() bool
}

// completeImage is an image that can be sealed. Its functions are called when it
// is its turn, with the Writer locked.
type completeImage struct {
	id      digest.Digest // for error messages
	entries []*tarfile.Entry
	files   func() ([]tarfile.Small, error) // what follows the entries
	add     func()                          // records the image in the archive's contents
}

// plannedBlob is a blob that will be put.
type plannedBlob struct {
	digest    digest.Digest
	size      int64 // in bytes, as it will be received; -1 if unknown
	layer     bool  // rather than a config or a manifest
	mediaType string
}

// plain reports whether the blob is said to be an uncompressed layer. Not all
// who say so are right.
func (b plannedBlob) plain() bool {
	return b.mediaType == imgspecv1.MediaTypeImageLayer || b.mediaType == manifest.DockerV2SchemaLayerMediaTypeUncompressed
}

// planManifest returns the blobs of an image in the order of an archive that
// keeps them all: layers, config, manifest.
func planManifest(m []byte, mimeType string) ([]plannedBlob, error) {
	parsed, err := manifest.FromBlob(m, mimeType)
	if err != nil {
		return nil, err
	}
	var blobs []plannedBlob
	for _, layer := range parsed.LayerInfos() {
		blobs = append(blobs, plannedBlob{layer.Digest, layer.Size, true, layer.MediaType})
	}
	if config := parsed.ConfigInfo(); config.Digest != "" {
		blobs = append(blobs, plannedBlob{config.Digest, config.Size, false, config.MediaType})
	}
	return append(blobs, planDocument(m)), nil
}

// planDocument returns the blob of a manifest or an index.
func planDocument(m []byte) plannedBlob {
	return plannedBlob{digest: digest.FromBytes(m), size: int64(len(m))}
}
