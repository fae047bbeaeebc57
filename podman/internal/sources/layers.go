package sources

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// Layers returns the layers of an image, which can be read at any offset: each is read
// into a temporary file without a name when it is opened. The image stays open until
// release is called, which is never nil.
func Layers(ctx context.Context, sys *types.SystemContext, name string, ref types.ImageReference) (layers []archive.BaseLayer, release func() error, err error) {
	src, err := ref.NewImageSource(ctx, Opening(sys, ref, true))
	if err != nil {
		return nil, func() error { return nil }, err
	}
	src = Truthful(ctx, src)
	img, err := Parse(ctx, Opening(sys, ref, true), src, nil, image.UnparsedInstance(src, nil))
	if err != nil {
		return nil, src.Close, err
	}
	config, err := img.OCIConfig(ctx)
	if err != nil {
		return nil, src.Close, fmt.Errorf("reading its config: %w", err)
	}
	infos := img.LayerInfos()
	if updated, err := img.LayerInfosForCopy(ctx); err != nil {
		return nil, src.Close, err
	} else if updated != nil { // A storage has them in another form.
		infos = updated
	}
	if len(infos) != len(config.RootFS.DiffIDs) {
		return nil, src.Close, errors.New("its config does not fit its layers")
	}
	blobs, dir := New(src, nil), spool.Dir("")
	if sys != nil {
		dir = spool.Dir(sys.BigFilesTemporaryDir)
	}
	for n, info := range infos {
		d := info
		layers = append(layers, archive.BaseLayer{
			From: name, Digest: known(d, config.RootFS.DiffIDs[n]), Size: d.Size, DiffID: config.RootFS.DiffIDs[n],
			Open: func(ctx context.Context) (io.ReaderAt, int64, func(), error) { return blobs.spool(ctx, d, dir) },
		})
	}
	return layers, src.Close, nil
}

// known returns the digest of a layer in a manifest, or none for a layer that is there
// uncompressed: a manifest with the compressed layer does not list that.
func known(info types.BlobInfo, diffID digest.Digest) digest.Digest {
	if info.Digest == diffID && info.Size < 0 {
		return ""
	}
	return info.Digest
}

// spool reads a layer into a temporary file.
func (s *Blobs) spool(ctx context.Context, info types.BlobInfo, dir string) (io.ReaderAt, int64, func(), error) {
	body, err := s.Open(ctx, imgspecv1.Descriptor{MediaType: info.MediaType, Digest: info.Digest, Size: info.Size, URLs: info.URLs}, 0)
	if err != nil {
		return nil, 0, nil, err
	}
	defer body.Close() // It is only read.
	f, err := spool.Create(dir)
	if err != nil {
		return nil, 0, nil, err
	}
	size, err := io.Copy(f, body)
	if err != nil {
		return nil, 0, nil, errors.Join(err, f.Close())
	}
	return f, size, func() { _ = f.Close() }, nil // It is temporary.
}
