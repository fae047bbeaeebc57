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

// ReadEnd implements fetching.EndSource for blobs in files. A registry is not asked: some
// registries, and caches before others, read a whole blob to find its end.
func (s *Blobs) ReadEnd(ctx context.Context, blob imgspecv1.Descriptor, n int) ([]byte, error) {
	if s.serial != nil || !isInFiles(s.src) {
		return nil, fetching.ErrNoRanges
	}
	body, err := seekEnd(ctx, s.src, blob, int64(n))
	if err != nil {
		return nil, err
	}
	defer body.Close() // It has only been read from.
	end := make([]byte, n)
	_, err = io.ReadFull(body, end)
	return end, err
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
