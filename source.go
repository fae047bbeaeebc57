package dockerarchive

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/catalog"
)

// imageSource reads one image.
type imageSource struct {
	ref    archiveReference
	image  *catalog.Image
	reader *Reader
	owned  bool // reader is closed along with the source
}

// newImageSource opens the image that ref refers to. A reference that belongs
// to a Reader uses that.
func newImageSource(ctx context.Context, sys *types.SystemContext, ref archiveReference) (types.ImageSource, error) {
	s := &imageSource{ref: ref, reader: ref.reader}
	if s.reader == nil {
		r, err := ref.transport.newReader(ctx, sys, ref.path)
		if err != nil {
			return nil, err
		}
		s.reader, s.owned = r, true
	}
	var err error
	if s.image, _, err = s.reader.choose(ref); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Reference returns the reference that the source was opened with.
func (s *imageSource) Reference() types.ImageReference { return s.ref }

// Close closes the archive, unless it belongs to a Reader.
func (s *imageSource) Close() error {
	if s.owned {
		return s.reader.Close()
	}
	return nil
}

// GetManifest returns the manifest or index as it is in the archive. If there is
// none, it returns a schema 2 manifest of uncompressed layers.
func (s *imageSource) GetManifest(ctx context.Context, instanceDigest *digest.Digest) ([]byte, string, error) {
	data, mediaType, err := s.image.Manifest(ctx, instanceDigest)
	if err != nil {
		return nil, "", s.fail("reading the manifest", err)
	}
	return data, mediaType, nil
}

// HasThreadSafeGetBlob returns true.
func (s *imageSource) HasThreadSafeGetBlob() bool { return true }

// GetBlob returns a config or a layer and its size, which is always known.
// Reading fails when ctx ends. As with every ImageSource, the caller must verify
// the digest; a layer that is decompressed here has been verified at its end.
func (s *imageSource) GetBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	blob, err := s.image.Blob(ctx, info.Digest)
	if err != nil {
		return nil, 0, s.fail("opening blob "+info.Digest.String(), err)
	}
	stream, err := blob.Open(ctx)
	if err != nil {
		return nil, 0, s.fail("opening blob "+info.Digest.String(), err)
	}
	return stream, blob.Size, nil
}

// GetSignatures returns none: archives have no place for them.
func (s *imageSource) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) {
	return [][]byte{}, nil
}

// LayerInfosForCopy returns nil: the manifest has the layers as they are.
func (s *imageSource) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}

func (s *imageSource) fail(doing string, err error) error {
	return fmt.Errorf("%s: %s: %s: %w", s.ref.transport.name, s.ref.StringWithinTransport(), doing, err)
}
