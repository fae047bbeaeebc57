package imagecopy

import (
	"context"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// note remembers layers for readEnd.
func (p *copyPlan) note(layers []imgspecv1.Descriptor) {
	if p.layers == nil {
		p.layers = map[digest.Digest]imgspecv1.Descriptor{}
	}
	for _, l := range layers {
		p.layers[l.Digest] = l
	}
}

// readEnd returns a function that reads the ends of layers of the plan, which are in
// src.
func (p *copyPlan) readEnd(src types.ImageSource) func(context.Context, digest.Digest, int) ([]byte, error) {
	blobs := sources.New(src, nil)
	return func(ctx context.Context, d digest.Digest, n int) ([]byte, error) {
		layer, ok := p.layers[d]
		if !ok || layer.Size < int64(n) {
			return nil, fetching.ErrNoRanges
		}
		return blobs.ReadEnd(ctx, layer, n)
	}
}
