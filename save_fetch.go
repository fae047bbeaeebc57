package dockerarchive

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/output"
)

// savedBlob is a layer or a config, of all images that have it.
type savedBlob struct {
	info   types.BlobInfo
	config bool
	users  []*savedImage // in their order

	done chan struct{} // closed when the fields below are set
	err  error
	data []byte // of a config
}

// errNotNeeded is what becomes of a blob that only images that failed have.
var errNotNeeded = errors.New("no image needs it")

// write fetches all blobs and completes all images.
func (s *saver) write(ctx context.Context, w *Writer) error {
	if err := s.openDestinations(ctx, w); err != nil {
		return err
	}
	defer s.closeDestinations()
	size := int64(0)
	for _, blob := range s.blobs {
		if size >= 0 && blob.info.Size >= 0 {
			size += blob.info.Size
		} else {
			size = -1
		}
	}
	s.options.Progress.Planned(len(s.blobs), size)

	// A stream of blobs of known size takes each in its turn: fetching them as
	// they are needed is the way to keep none of them elsewhere.
	inTurn := w.out.Stream() && !w.layout.decompresses()
	g, ctx := errgroup.WithContext(ctx)
	if !inTurn {
		order := s.fetchOrder(w)
		var next atomic.Int64
		for range min(s.options.Jobs, len(order)) {
			g.Go(func() error {
				for {
					i := int(next.Add(1)) - 1
					if i >= len(order) {
						return nil
					}
					if err := s.fetch(ctx, order[i]); err != nil {
						return err
					}
				}
			})
		}
	}
	g.Go(func() error { return s.assemble(ctx, w, inTurn) })
	return g.Wait()
}

// fetchOrder returns the blobs in the order in which to start with them: where
// each has its place from the start, the largest first, so that none is left to
// be waited for at the end. Where places are known only as blobs end, as those of
// layers that are decompressed are, that would have them wait out of turn; there
// it is the order of the archive.
func (s *saver) fetchOrder(w *Writer) []*savedBlob {
	order := slices.Clone(s.blobs)
	unknown := slices.ContainsFunc(order, func(b *savedBlob) bool { return b.info.Size < 0 })
	if unknown || w.layout.decompresses() {
		return order
	}
	slices.SortStableFunc(order, func(a, b *savedBlob) int { return cmp.Compare(b.info.Size, a.info.Size) })
	return order
}

func (s *saver) openDestinations(ctx context.Context, w *Writer) error {
	for _, img := range s.images {
		if img.failed() {
			continue
		}
		ref, err := w.transport.newReference("", img.Name, -1)
		if err == nil {
			ref.path, ref.writer, ref.image = w.path, w, w.newImage()
			img.dest, err = ref.NewImageDestination(ctx, nil)
		}
		if err != nil {
			s.closeDestinations()
			return err
		}
	}
	return nil
}

func (s *saver) closeDestinations() {
	for _, img := range s.images {
		if img.dest != nil {
			img.dest.Close() // Has nothing left to do that could fail: the Writer is not its own.
		}
	}
}

// fetch has one blob arrive in the archive, or a config in memory. The error is
// one that ends everything.
func (s *saver) fetch(ctx context.Context, blob *savedBlob) error {
	defer close(blob.done)
	users := slices.DeleteFunc(slices.Clone(blob.users), s.failedImage)
	if len(users) == 0 {
		blob.err = errNotNeeded
		return nil
	}
	s.options.Progress.Started(blob.info.Digest, blob.info.Size)
	blob.err = s.fetchFrom(ctx, blob, users)
	s.options.Progress.Finished(blob.info.Digest, blob.err)
	if blob.err == nil {
		return nil
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if isLocal(blob.err) {
		return blob.err
	}
	for _, user := range users {
		if err := s.fail(user, blob.err); err != nil {
			return err
		}
	}
	return nil
}

// isLocal reports whether an error says that the archive cannot be written, which
// is the end of all images.
func isLocal(err error) bool {
	var local *output.Error
	var spooled *fs.PathError
	return !errors.Is(err, errSaveSource) && (errors.As(err, &local) || errors.As(err, &spooled) || errors.Is(err, syscall.ENOSPC))
}

// fetchFrom fetches a blob from the first image that has it, or else the next. It
// starts over only for a blob that turned out to be another one.
func (s *saver) fetchFrom(ctx context.Context, blob *savedBlob, users []*savedImage) error {
	for {
		r := newBlobReader(ctx, s, blob, users)
		err := s.store(ctx, r, blob, users[0].dest)
		users = r.close()
		if !errors.Is(err, errMismatch) || len(users) < 2 || ctx.Err() != nil {
			return err
		}
		users = users[1:]
	}
}

func (s *saver) store(ctx context.Context, r *blobReader, blob *savedBlob, dest types.ImageDestination) error {
	if !blob.config {
		_, err := dest.PutBlob(ctx, r, blob.info, none.NoCache, false)
		return err
	}
	ahead := async.NewReader(ctx, r) // Ends with the context, even if the source does not.
	defer ahead.Close()
	data, err := io.ReadAll(io.LimitReader(ahead, maxConfigSize+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading config %s: %w", blob.info.Digest, err)
	case len(data) > maxConfigSize:
		return fmt.Errorf("config %s is larger than %d bytes, which is more than a config may have", blob.info.Digest, maxConfigSize)
	}
	blob.data = data
	return nil
}

// assemble completes the images one after the other, as their blobs arrive.
func (s *saver) assemble(ctx context.Context, w *Writer, fetch bool) error {
	for _, img := range s.images {
		if s.failedImage(img) {
			s.forgo(w, img)
			continue
		}
		if err := s.assembleImage(ctx, img, fetch); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if isLocal(err) {
				return err
			}
			if err := s.fail(img, err); err != nil {
				return err
			}
			s.forgo(w, img)
		}
	}
	return nil
}

func (s *saver) assembleImage(ctx context.Context, img *savedImage, fetch bool) error {
	for i, document := range img.documents {
		for _, blob := range document.blobs {
			if err := s.await(ctx, blob, fetch); err != nil {
				return err
			}
			if err := putConfigOf(ctx, img, blob); err != nil {
				return err
			}
		}
		var instance *digest.Digest
		if i < len(img.documents)-1 {
			instance = &document.digest
		}
		if err := img.dest.PutManifest(ctx, document.raw, instance); err != nil {
			return err
		}
	}
	if err := img.dest.Commit(ctx, nil); err != nil {
		return err
	}
	for _, document := range img.documents {
		for _, blob := range document.blobs {
			if blob.users[len(blob.users)-1] == img {
				blob.data = nil
			}
		}
	}
	return nil
}

// await returns when a blob has been fetched, which it does itself if fetch is set.
func (s *saver) await(ctx context.Context, blob *savedBlob, fetch bool) error {
	select {
	case <-blob.done:
		return blob.err
	default:
	}
	if fetch {
		if err := s.fetch(ctx, blob); err != nil {
			return err
		}
	}
	select {
	case <-blob.done:
		return blob.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// putConfigOf gives a config to an image.
func putConfigOf(ctx context.Context, img *savedImage, blob *savedBlob) error {
	if !blob.config {
		return nil
	}
	_, err := img.dest.PutBlob(ctx, bytes.NewReader(blob.data), types.BlobInfo{Digest: blob.info.Digest, Size: int64(len(blob.data))}, none.NoCache, true)
	return err
}

// forgo gives up the places in a stream of what only images that failed would
// have put there, so that nothing waits for it. In a file, Close does it.
func (s *saver) forgo(w *Writer, img *savedImage) {
	if img.dest == nil || !w.out.Stream() {
		return
	}
	needed := map[digest.Digest]bool{}
	for _, other := range s.images {
		if s.failedImage(other) {
			continue
		}
		for d := range other.digests() {
			needed[d] = true
		}
	}
	for d := range img.digests() {
		if slot := w.slots[d]; slot != nil && !needed[d] {
			_ = slot.Release(nil) // What is being written keeps its place.
		}
	}
}
