package pushing

import (
	"context"
	"errors"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// noteSources finds the layers that archives were saved without: another image of the push
// may have them, or the registry.
func (p *pusher) noteSources() {
	for _, img := range p.images {
		if img.result.Err != nil {
			continue
		}
		for b := range image.BlobsOf(img.Documents) {
			if where, ok := img.Lacks(b.Digest); ok {
				p.blobs.leftOut[b.Digest] = where
			} else if p.blobs.sources[b.Digest] == nil {
				p.blobs.sources[b.Digest] = img
			}
		}
		for _, target := range img.result.Image.Targets {
			p.blobs.targets = append(p.blobs.targets, reference.TrimNamed(target))
		}
	}
	for d := range p.blobs.sources {
		delete(p.blobs.leftOut, d)
	}
}

// putLeftOut checks that a repository has the layers that no source has, or mounts them.
// Nothing has been sent before; one error names all layers that the registry has not got
// either.
func (s *sentBlobs) putLeftOut(ctx context.Context, img *pushedImage, to reference.Named) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.options.Select.Jobs)
	var mu sync.Mutex
	missing := map[digest.Digest]bool{}
	for b := range s.leftOutOf(img) {
		g.Go(func() error {
			err := s.put(gctx, img, to, b)
			var leftOut *errdef.LeftOutError
			if errors.As(err, &leftOut) {
				mu.Lock()
				defer mu.Unlock()
				missing[b.Digest] = true
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil || len(missing) == 0 {
		return err
	}
	failed := &errdef.LeftOutError{}
	for b := range s.leftOutOf(img) { // In the order of the image.
		if missing[b.Digest] {
			failed.Layers = append(failed.Layers, s.leftOut[b.Digest].Of(b.Descriptor))
		}
	}
	return failed
}

// leftOutOf iterates over the layers of an image that no source has, each once.
func (s *sentBlobs) leftOutOf(img *pushedImage) func(yield func(image.Blob) bool) {
	return func(yield func(image.Blob) bool) {
		seen := map[digest.Digest]bool{}
		for b := range image.BlobsOf(img.Documents) {
			if _, ok := s.leftOut[b.Digest]; !ok || seen[b.Digest] {
				continue
			}
			seen[b.Digest] = true
			if !yield(b) {
				return
			}
		}
	}
}
