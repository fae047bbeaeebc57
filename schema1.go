package dockerarchive

import (
	"bytes"
	"context"
	"slices"

	ctrimage "github.com/containers/image/v5/image"
	"github.com/containers/image/v5/types"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// isFiller reports whether a blob is the empty layer that manifests of Docker's schema
// 1 have for steps that changed no file. Only those manifests give layers no media
// type. Converted manifests do without fillers, and a stream cannot take back a layer:
// a filler is written when a manifest refers to it.
func isFiller(info types.BlobInfo) bool {
	return info.Digest == ctrimage.GzippedEmptyLayerDigest && info.MediaType == ""
}

// filler returns the empty layer as one that is there.
func filler(info types.BlobInfo) types.BlobInfo {
	info.Size = int64(len(ctrimage.GzippedEmptyLayer))
	return info
}

// putFiller stores the empty layer if it has been left out and a manifest refers to it.
func (d *imageDestination) putFiller(ctx context.Context, document *image.Document) error {
	refers := func(l imgspecv1.Descriptor) bool { return l.Digest == ctrimage.GzippedEmptyLayerDigest }
	if !d.filler.Load() || !slices.ContainsFunc(document.Layers, refers) {
		return nil
	}
	_, _, err := d.archive.Put(ctx, d, bytes.NewReader(ctrimage.GzippedEmptyLayer), ctrimage.GzippedEmptyLayerDigest, int64(len(ctrimage.GzippedEmptyLayer)))
	return err
}
