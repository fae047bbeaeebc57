package bases

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/delta"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

const (
	// minGain is the part of a layer, one in so many, that a delta must save to be worth
	// applying.
	minGain = 8
	// minLayer is how small a layer is sent whole, in bytes.
	minLayer = 4 << 10
)

// Made is a delta, in a temporary file.
type Made struct {
	image.Delta
	File *local.File // of Size bytes; to be closed
}

// Make returns a delta that makes a layer of those of the Set, or nil if none is clearly
// smaller than the layer. It has been applied, and has led to the layer. The bytes depend
// on the layers, not on their order. textOnly allows none that needs its bases as they
// are compressed.
func (s *Set) Make(ctx context.Context, layer *io.SectionReader, textOnly bool) (*Made, error) {
	if layer.Size() < minLayer {
		return nil, nil
	}
	layers, known, err := s.sketch(ctx)
	if err != nil {
		return nil, err
	}
	target, err := sketchOf(ctx, &catalog.Loan{SectionReader: layer})
	if err != nil {
		return nil, err
	}
	chosen := choose(target, layers, known)
	if len(chosen) == 0 { // As for a layer that cannot be decompressed; reporting it is not for here.
		return nil, nil
	}
	opened, release, err := openAll(ctx, chosen)
	if err != nil {
		return nil, err
	}
	defer release()
	f, err := spool.Create(spool.Dir(s.TempDir))
	if err != nil {
		return nil, err
	}
	made, err := makeInto(ctx, f, layer, opened, &delta.MakeOptions{TempDir: s.TempDir, TextOnly: textOnly})
	if err != nil || made == nil || made.Size > layer.Size()-layer.Size()/minGain {
		return nil, errors.Join(err, f.Close())
	}
	for n, l := range chosen {
		made.From[n].Archive = l.From
	}
	return made, nil
}

// makeInto returns nil if there is no gain.
func makeInto(ctx context.Context, f *local.File, layer *io.SectionReader, bases []delta.Source, o *delta.MakeOptions) (*Made, error) {
	digester := digest.SHA256.Digester()
	h, err := delta.Make(ctx, io.MultiWriter(f, digester.Hash()), layer, bases, o)
	if errors.Is(err, delta.ErrNoGain) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("making a delta: %w", err)
	}
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	made := &Made{Delta: image.Delta{MediaType: image.DeltaType, Digest: digester.Digest(), Size: size}, File: f}
	for _, b := range h.Bases {
		made.From = append(made.From, image.DeltaBase{Digest: image.SHA256(b.Digest), DiffID: image.SHA256(b.TextDigest), Exact: h.NeedsCompressedBases()})
	}
	return made, nil
}
