package saving

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/writing"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/progress"
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
		if err := s.from.CheckLeftOut(s.archive.Has); err != nil {
			return err
		}
	}
	s.options.Select.Progress(s.planned())

	// A stream of blobs of known size takes each in its turn: if they are fetched as
	// they are needed, none is kept elsewhere.
	inTurn := s.archive.Stream() && !s.from.Layout.Unpacks()
	g, ctx := errgroup.WithContext(ctx)
	if !inTurn {
		s.from.Fetcher.Start(ctx, g, s.fetchOrder())
	}
	g.Go(func() error { return s.assemble(ctx, places, inTurn) })
	return g.Wait()
}

// planned returns the event that says how much is left to fetch.
func (s *saver) planned() progress.Event {
	e := progress.Event{Kind: progress.Planned, Present: len(s.present)}
	for _, blob := range s.from.Fetcher.Blobs() {
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
	for _, blob := range s.from.Fetcher.Blobs() {
		if s.archive.Has(blob.Digest) {
			s.present[blob.Digest] = true
		}
	}
}

// notePresentConfigs is notePresent for the configs, which are needed before.
func (s *saver) notePresentConfigs() {
	for _, blob := range s.from.Fetcher.Blobs() {
		if s.presentConfig(blob) != nil {
			s.present[blob.Digest] = true
		}
	}
}

// presentConfig returns a config that the existing archive has, or nil.
func (s *saver) presentConfig(blob *fetching.Blob) []byte {
	if s.options.existing == nil || blob.Kind != image.KindConfig {
		return nil
	}
	return s.options.existing.Config(blob.Digest)
}

// openImages returns the places of all images that have not failed.
func (s *saver) openImages() (map[*selecting.Image]*writing.Image, error) {
	places := map[*selecting.Image]*writing.Image{}
	for img := range s.from.Good() {
		place, err := s.archive.Open(s.archive.NewImage())
		if err != nil {
			return nil, err
		}
		places[img] = place
	}
	return places, nil
}

// fetchOrder returns the blobs in the order in which to start fetching them. If each
// has its place from the start, the largest come first, so that none is left to wait
// for at the end. If the place of a blob is known only when those before it have begun
// or ended, as with layers that are decompressed, blobs would wait out of turn: then it
// is the order of the archive.
func (s *saver) fetchOrder() []*fetching.Blob {
	order := slices.DeleteFunc(slices.Clone(s.from.Fetcher.Blobs()), (*fetching.Blob).Fetched)
	unknown := slices.ContainsFunc(order, func(b *fetching.Blob) bool { return b.Size < 0 })
	if unknown || s.from.Layout.Unpacks() {
		return order
	}
	slices.SortStableFunc(order, func(a, b *fetching.Blob) int { return cmp.Compare(b.Size, a.Size) })
	return order
}

// store has a layer arrive in the archive.
func (s *saver) store(ctx context.Context, blob *fetching.Blob, r io.Reader) error {
	var file io.ReaderAt
	var off int64
	if s.archive.Stream() && s.kept(ctx, blob) == nil { // Else the bytes do not come from the images.
		file, off = blob.Stored(ctx)
	}
	if err := s.archive.PutStored(ctx, s, r, blob.Digest, blob.Size, file, off); err != nil {
		return fmt.Errorf("writing layer %s to %s: %w", blob.Digest, s.archive.Path(), err)
	}
	return nil
}

// assemble completes the images one after the other, as their blobs arrive.
func (s *saver) assemble(ctx context.Context, places map[*selecting.Image]*writing.Image, fetch bool) error {
	for _, img := range s.from.Images {
		if s.from.Err(img) != nil {
			s.forgo(img)
			continue
		}
		if err := s.assembleImage(ctx, img, places[img], fetch); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if s.from.Fetcher.Fatal(err) {
				return err
			}
			if err := s.from.Fail(img, err); err != nil {
				return err
			}
			s.forgo(img)
		}
	}
	return nil
}

func (s *saver) assembleImage(ctx context.Context, img *selecting.Image, place *writing.Image, fetch bool) error {
	needed := img.Needed
	for _, document := range img.Documents {
		for b := range document.Blobs() {
			if b.Kind == image.KindDocument {
				break
			}
			if err := s.await(ctx, needed[0], fetch); err != nil {
				return err
			}
			needed = needed[1:]
		}
		if s.from.Layout.Unpacks() {
			continue
		}
		if err := s.archive.PutBytes(ctx, s, document.Raw, document.Descriptor.Digest); err != nil {
			return fmt.Errorf("writing the manifest to %s: %w", s.archive.Path(), err)
		}
	}
	content := s.from.ContentOf(img)
	if err := s.archive.Check(content); err != nil {
		return err
	}
	if err := s.archive.Commit(ctx, place, content); err != nil {
		return err
	}
	img.Warnings = append(img.Warnings, place.Warnings()...)
	if reason := s.from.Layout.LeftOut(content); reason != "" && !img.IsReferrer() {
		img.Warn("it is left out of manifest.json, so that docker load does not see it: %s", reason)
	}
	s.from.Done(img)
	return nil
}

// await waits until a blob has been fetched and stored. It fetches the blob itself if
// fetch is set.
func (s *saver) await(ctx context.Context, blob *fetching.Blob, fetch bool) error {
	if fetch && !blob.Fetched() {
		if err := s.from.Fetcher.Fetch(ctx, blob); err != nil {
			return err
		}
	}
	if err := blob.Await(ctx); err != nil {
		return err
	}
	if blob.Kind != image.KindConfig || s.from.Layout.Unpacks() {
		return nil
	}
	if err := s.archive.PutBytes(ctx, s, s.from.Config(blob.Digest), blob.Digest); err != nil {
		return fmt.Errorf("writing config %s to %s: %w", blob.Digest, s.archive.Path(), err)
	}
	return nil
}

// forgo gives up the places in a stream that only images that failed would have filled,
// so that nothing waits for them.
func (s *saver) forgo(img *selecting.Image) {
	if !s.archive.Stream() {
		return
	}
	needed := map[digest.Digest]bool{}
	for other := range s.from.Good() {
		for b := range image.BlobsOf(other.Documents) {
			needed[b.Digest] = true
		}
	}
	unneeded := map[digest.Digest]bool{}
	for b := range image.BlobsOf(img.Documents) {
		if !needed[b.Digest] {
			unneeded[b.Digest] = true
		}
	}
	s.archive.Forgo(slices.Collect(maps.Keys(unneeded)))
}
