package sources

import (
	"context"
	"fmt"
	"io"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/manifest"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
)

// worthAsking is the size, in bytes, from which on a registry is asked how a blob ends:
// what is smaller is here as soon as the answer.
const worthAsking = 1 << 20

// ReadEnd implements fetching.EndSource, of blobs in files and of large ones in a
// registry itself.
func (s *Blobs) ReadEnd(ctx context.Context, blob imgspecv1.Descriptor, n int) ([]byte, error) {
	body, err := s.openEnd(ctx, blob, int64(n))
	if err != nil {
		return nil, err
	}
	defer body.Close() // It has only been read from.
	end := make([]byte, n)
	_, err = io.ReadFull(body, end)
	return end, err
}

func (s *Blobs) openEnd(ctx context.Context, blob imgspecv1.Descriptor, n int64) (io.ReadCloser, error) {
	switch {
	case s.serial != nil:
		return nil, fetching.ErrNoRanges
	case isInFiles(s.src):
		return seekEnd(ctx, s.src, blob, n)
	case blob.Size < worthAsking:
		return nil, fetching.ErrNoRanges
	default:
		return s.OpenRange(ctx, blob, blob.Size-n, n)
	}
}

// isInFiles reports whether the source is known to open a file for each blob, at no cost.
func isInFiles(src types.ImageSource) bool {
	switch src.Reference().Transport().Name() {
	case ocilayout.Transport.Name(), directory.Transport.Name():
		return true
	}
	return IsArchived(src)
}

func seekEnd(ctx context.Context, src types.ImageSource, blob imgspecv1.Descriptor, n int64) (io.ReadCloser, error) {
	info := manifest.BlobInfoFromOCI1Descriptor(blob)
	info.URLs = nil
	body, _, err := src.GetBlob(ctx, info, none.NoCache)
	if err != nil {
		return nil, err
	}
	seeker, ok := body.(io.Seeker)
	if !ok {
		body.Close() // It has only been opened.
		return nil, fmt.Errorf("%w: it is no file", fetching.ErrNoRanges)
	}
	if _, err := seeker.Seek(-n, io.SeekEnd); err != nil {
		body.Close() // It has only been opened.
		return nil, err
	}
	return body, nil
}
