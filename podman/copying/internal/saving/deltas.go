package saving

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// makeDeltas fetches the layers that no other archive has into temporary files, and puts
// deltas in the place of those that are much larger than one. The content of the archive is
// known only then.
func (s *saver) makeDeltas(ctx context.Context) error {
	if s.options.Delta == nil {
		return nil
	}
	layers := slices.DeleteFunc(slices.Clone(s.from.Fetcher.Blobs()), func(b *fetching.Blob) bool { return b.Kind != image.KindLayer })
	if len(layers) == 0 {
		return nil
	}
	s.spooled.dir = spool.Dir(s.tempDir())
	s.from.Store = s.spooled.store
	s.options.Select.Progress(s.planned())
	g, gctx := errgroup.WithContext(ctx)
	s.from.Fetcher.Start(gctx, g, layers)
	if err := g.Wait(); err != nil {
		return err
	}
	deltas := image.LeftOut{}
	for _, l := range layers {
		if err := s.makeDelta(ctx, l.Digest, deltas); err != nil {
			return fmt.Errorf("layer %s: %w", l.Digest, err)
		}
	}
	s.all, s.from = s.from, s.from.Replacing(deltas)
	s.hook()
	for d := range s.spooled.files {
		s.present[d] = true // Its progress has been reported.
	}
	return nil
}

// makeDelta puts a delta in the place of a layer in a temporary file, if it is worth it.
func (s *saver) makeDelta(ctx context.Context, d digest.Digest, deltas image.LeftOut) error {
	layer := s.spooled.files[d]
	if layer == nil {
		return nil // It could not be fetched, and its images have failed.
	}
	size, err := layer.Size()
	if err != nil {
		return err
	}
	made, err := s.options.Delta.Set().Make(ctx, io.NewSectionReader(layer, 0, size), s.options.TextOnly)
	if err != nil || made == nil {
		return err
	}
	deltas[d] = image.Elsewhere{Archive: made.From[0].Archive, Delta: &made.Delta}
	s.spooled.replace(d, made.Digest, made.File)
	return layer.Close()
}
