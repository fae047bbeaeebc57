package saving

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// mayHaveUnpacked reports whether layers may be there, decompressed, before the archive is
// written.
func (s *saver) mayHaveUnpacked() bool {
	return s.from.Layout.Unpacks() && (s.options.existing != nil || s.options.Resume)
}

// learnLayers fetches the configs, which have the digests.
func (s *saver) learnLayers(ctx context.Context) error {
	if !s.mayHaveUnpacked() {
		return nil
	}
	configs := slices.DeleteFunc(slices.Clone(s.from.Fetcher.Blobs()), func(b *fetching.Blob) bool { return b.Kind != image.KindConfig })
	g, ctx := errgroup.WithContext(ctx)
	s.from.Fetcher.Start(ctx, g, configs)
	if err := g.Wait(); err != nil {
		return err
	}
	for img := range s.from.Good() {
		for _, m := range img.Documents {
			if !m.IsIndex() {
				s.learnLayersOf(m)
			}
		}
	}
	return nil
}

// learnLayersOf notes the digests of a manifest's layers after decompression. Its config
// is there, or has made its image fail.
func (s *saver) learnLayersOf(m *image.Document) {
	config, err := image.ParseConfig(m.Config.Digest.String(), s.from.Config(m.Config.Digest))
	if err != nil || len(config.DiffIDs) != len(m.Layers) {
		return // Said when the image is to be completed.
	}
	for i, l := range m.Layers {
		s.unpacked = append(s.unpacked, unpackedLayer{l, config.DiffIDs[i]})
	}
}

// assumeLayers tells the archive which of the layers it has, so that they are not fetched.
func (s *saver) assumeLayers() {
	for _, l := range s.unpacked {
		s.archive.Assume(l.Digest, l.Size, l.diffID)
	}
}
