package copying

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"syscall"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/writing"
)

// write fetches all blobs and completes all images.
func (s *saver) write(ctx context.Context) error {
	places, err := s.openImages()
	if err != nil {
		return err
	}
	s.assumeLayers()
	s.notePresent()
	if s.options.existing != nil {
		if err := s.checkLeftOut(s.archive.Has); err != nil {
			return err
		}
	}
	s.options.Progress(s.planned())

	// A stream of blobs of known size takes each in its turn: fetching them as
	// they are needed is the way to keep none of them elsewhere.
	inTurn := s.archive.Stream() && !s.layout.Unpacks()
	g, ctx := errgroup.WithContext(ctx)
	if !inTurn {
		s.fetcher.Start(ctx, g, s.fetchOrder())
	}
	g.Go(func() error { return s.assemble(ctx, places, inTurn) })
	return g.Wait()
}

// planned says what is left to be fetched.
func (s *saver) planned() Event {
	e := Event{Kind: Planned, Present: len(s.present)}
	for _, blob := range s.fetcher.Blobs() {
		if s.present[blob.Digest] || blob.Fetched() {
			continue
		}
		e.Blobs++
		if e.Size >= 0 && blob.Size >= 0 {
			e.Size += blob.Size
		} else {
			e.Size = -1
		}
	}
	return e
}

// notePresent notes which blobs the archive has, so that they are not fetched.
func (s *saver) notePresent() {
	for _, blob := range s.fetcher.Blobs() {
		if s.archive.Has(blob.Digest) {
			s.present[blob.Digest] = true
		}
	}
}

// notePresentConfigs is notePresent for the configs, which are needed before.
func (s *saver) notePresentConfigs() {
	for _, blob := range s.fetcher.Blobs() {
		if s.presentConfig(blob) != nil {
			s.present[blob.Digest] = true
		}
	}
}

// presentConfig returns a config that an archive has that is added to, or nil.
func (s *saver) presentConfig(blob *fetching.Blob) []byte {
	if s.options.existing == nil || blob.Kind != image.KindConfig {
		return nil
	}
	return s.options.existing.Config(blob.Digest)
}

// openImages returns the places of all images that have not failed.
func (s *saver) openImages() (map[*savedImage]*writing.Image, error) {
	places := map[*savedImage]*writing.Image{}
	for _, img := range s.images {
		if s.failed(img) {
			continue
		}
		place, err := s.archive.Open(s.archive.NewImage())
		if err != nil {
			return nil, err
		}
		places[img] = place
	}
	return places, nil
}

// fetchOrder returns the blobs in the order in which to start with them: where
// each has its place from the start, the largest first, so that none is left to
// be waited for at the end. Where the place of one is known only when those before it
// have begun, or ended, as of layers that are decompressed, that would have them wait
// out of turn; there it is the order of the archive.
func (s *saver) fetchOrder() []*fetching.Blob {
	order := slices.DeleteFunc(slices.Clone(s.fetcher.Blobs()), (*fetching.Blob).Fetched)
	unknown := slices.ContainsFunc(order, func(b *fetching.Blob) bool { return b.Size < 0 })
	if unknown || s.layout.Unpacks() {
		return order
	}
	slices.SortStableFunc(order, func(a, b *fetching.Blob) int { return cmp.Compare(b.Size, a.Size) })
	return order
}

// store has one blob arrive in the archive, or a config in memory.
func (s *saver) store(ctx context.Context, blob *fetching.Blob, r io.Reader) error {
	if blob.Kind != image.KindConfig {
		if _, _, err := s.archive.Put(ctx, s, r, blob.Digest, blob.Size); err != nil {
			return fmt.Errorf("writing layer %s to %s: %w", blob.Digest, s.archive.Path(), err)
		}
		return nil
	}
	ahead := async.NewReader(ctx, r) // Ends with the context, even if the source does not.
	defer ahead.Close()
	data, err := io.ReadAll(io.LimitReader(ahead, image.MaxDocument+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading config %s: %w", blob.Digest, err)
	case len(data) > image.MaxDocument:
		return fmt.Errorf("config %s: %w: larger than %d bytes, which is more than a config may have", blob.Digest, errdef.ErrLimit, image.MaxDocument)
	}
	s.configsMu.Lock()
	defer s.configsMu.Unlock()
	s.configs[blob.Digest] = data
	return nil
}

// isLocal reports whether an error says that the archive cannot be written, which
// is the end of all images.
func isLocal(err error) bool {
	var local *local.Error
	return errors.As(err, &local) || errors.Is(err, syscall.ENOSPC)
}

// assemble completes the images one after the other, as their blobs arrive.
func (s *saver) assemble(ctx context.Context, places map[*savedImage]*writing.Image, fetch bool) error {
	for _, img := range s.images {
		if s.failed(img) {
			s.forgo(img)
			continue
		}
		if err := s.assembleImage(ctx, img, places[img], fetch); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if s.fetcher.Fatal(err) {
				return err
			}
			if err := s.fail(img, err); err != nil {
				return err
			}
			s.forgo(img)
		}
	}
	return nil
}

func (s *saver) assembleImage(ctx context.Context, img *savedImage, place *writing.Image, fetch bool) error {
	needed := img.needed
	for _, document := range img.documents {
		for _, b := range document.Blobs() {
			if b.Kind == image.KindDocument {
				break
			}
			if err := s.await(ctx, needed[0], fetch); err != nil {
				return err
			}
			needed = needed[1:]
		}
		if s.layout.Unpacks() {
			continue
		}
		if err := s.archive.PutBytes(ctx, s, document.Raw, document.Descriptor.Digest); err != nil {
			return fmt.Errorf("writing the manifest to %s: %w", s.archive.Path(), err)
		}
	}
	content := s.contentOf(img)
	img.describe(content)
	if err := s.archive.Check(content); err != nil {
		return err
	}
	if err := s.archive.Commit(ctx, place, content); err != nil {
		return err
	}
	if reason := s.layout.LeftOut(content); reason != "" && !img.isReferrer() {
		img.warn("it is left out of manifest.json, so that docker load does not see it: %s", reason)
	}
	s.configsMu.Lock()
	defer s.configsMu.Unlock()
	for _, blob := range img.needed {
		if blob.LastNeededBy(img.fetched) {
			delete(s.configs, blob.Digest)
		}
	}
	return nil
}

// await returns when a blob has been fetched, which it does itself if fetch is
// set, and stored.
func (s *saver) await(ctx context.Context, blob *fetching.Blob, fetch bool) error {
	if fetch && !blob.Fetched() {
		if err := s.fetcher.Fetch(ctx, blob); err != nil {
			return err
		}
	}
	if err := blob.Await(ctx); err != nil {
		return err
	}
	if blob.Kind != image.KindConfig || s.layout.Unpacks() {
		return nil
	}
	s.configsMu.Lock()
	data := s.configs[blob.Digest]
	s.configsMu.Unlock()
	if err := s.archive.PutBytes(ctx, s, data, blob.Digest); err != nil {
		return fmt.Errorf("writing config %s to %s: %w", blob.Digest, s.archive.Path(), err)
	}
	return nil
}

// contentOf returns an image whose configs have been fetched.
func (s *saver) contentOf(img *savedImage) *image.Image {
	content := &image.Image{
		Documents: img.documents, Names: img.AllNames(),
		Configs: map[digest.Digest][]byte{}, Origins: map[digest.Digest]image.Origin{},
	}
	s.configsMu.Lock()
	defer s.configsMu.Unlock()
	for _, blob := range img.needed {
		if data, ok := s.configs[blob.Digest]; ok {
			content.Configs[blob.Digest] = data
			if img.origins != nil {
				content.Origins[blob.Digest] = img.origins.Origin(blob.Digest)
			}
		}
	}
	return content
}

// forgo gives up the places in a stream of what only images that failed would
// have put there, so that nothing waits for it.
func (s *saver) forgo(img *savedImage) {
	if !s.archive.Stream() {
		return
	}
	needed := map[digest.Digest]bool{}
	for _, other := range s.images {
		if !s.failed(other) {
			for b := range image.BlobsOf(other.documents) {
				needed[b.Digest] = true
			}
		}
	}
	unneeded := map[digest.Digest]bool{}
	for b := range image.BlobsOf(img.documents) {
		if !needed[b.Digest] {
			unneeded[b.Digest] = true
		}
	}
	s.archive.Forgo(slices.Collect(maps.Keys(unneeded)))
}
