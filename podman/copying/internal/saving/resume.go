package saving

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/writing"
)

// checkResume fails if an archive could not be resumed.
func (s *saver) checkResume(algorithm compression.Algorithm) error {
	switch {
	case !s.options.Resume:
		return nil
	case s.options.existing != nil:
		return errors.New("saving images: images that are added to an archive cannot be resumed; what was complete is found again without that")
	case s.options.Split > 0:
		return errors.New("saving images: an archive in parts cannot be resumed")
	case algorithm != compression.None:
		return fmt.Errorf("saving images: an archive that is compressed with %s cannot be resumed", algorithm)
	}
	return nil
}

// rangeSize returns the size of the ranges that blobs are read in. An archive that can
// be resumed uses smaller ones: a kill loses the data that waits for its turn in memory.
// A layer that is decompressed is lost unless it is complete.
func (s *saver) rangeSize(l layout.Layout) int {
	if s.options.Resume && !l.Unpacks() && s.options.Select.RangeSize == 0 {
		return 512 << 10
	}
	return s.options.Select.RangeSize
}

// resume prepares to go on with the file that an earlier save has left.
func (s *saver) resume(ctx context.Context, out *output.Output) error {
	if !s.options.Resume || out.Stream() || s.from.Layout.Unpacks() { // Places are known only after decompression.
		return nil
	}
	places, err := writing.PlanPlaces(ctx, writing.Options{Layout: s.from.Layout, Plan: s.from.Plan()})
	if err != nil {
		return err
	}
	if err := writing.Resume(ctx, out, places); err != nil {
		return err
	}
	s.places, s.partial = places, out.File()
	return nil
}

// rests returns which decompressed layers are of use if an earlier run has left them in
// the file, nil if that is not known.
func (s *saver) rests() func(digest.Digest) bool {
	if !s.mayHaveUnpacked() {
		return nil
	}
	wanted := map[digest.Digest]bool{}
	for _, l := range s.unpacked {
		wanted[l.diffID] = true
	}
	return func(stored digest.Digest) bool { return wanted[stored] }
}

// kept returns the part of a blob that is here already.
func (s *saver) kept(_ context.Context, blob *fetching.Blob) io.Reader {
	if config := s.presentConfig(blob); config != nil {
		return bytes.NewReader(config)
	}
	if r := s.spooled.open(blob.Digest, blob.Size); r != nil {
		return r
	}
	place, ok := s.places[blob.Digest]
	if !ok || place.Size != blob.Size {
		return nil
	}
	return writing.Kept(s.partial, place, blob.Digest)
}
