// Package saving writes archives of a Selection: new ones, additions to existing ones, and
// streams. It also plans them in advance. It decides which blob is fetched when, and puts
// images together. It does not know where images come from.
package saving

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/writing"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/podman/internal/layouts"
	"github.com/dockerarchive/dockerarchive/podman/internal/stores"
	"github.com/dockerarchive/dockerarchive/progress"
)

// Save writes images to a new archive at path.
func Save(ctx context.Context, path string, images []selecting.Wanted, o Options) ([]Result, error) {
	ctx = stores.Reaching(ctx, o.DestinationCtx)
	return save(ctx, path, images, o, func() (*output.Output, error) {
		if o.Resume && o.Split == 0 {
			return output.CreatePartial(ctx, path)
		}
		return output.CreateSplit(ctx, path, o.Split)
	})
}

// To writes images to a stream.
func To(ctx context.Context, w io.Writer, images []selecting.Wanted, o Options) ([]Result, error) {
	return save(ctx, aStream, images, o, func() (*output.Output, error) {
		if o.Resume {
			return nil, errors.New("saving images: what is written to a stream cannot be resumed")
		}
		return output.ToWriter(w), nil
	})
}

// aStream is the path of an archive that has none.
const aStream = "a stream"

// whole returns the selection that is saved, with all layers as they are at their sources.
func (s *saver) whole() *selecting.Selection {
	if s.all != nil {
		return s.all
	}
	return s.from
}

// Stream writes a selection that has been read to a stream, as an image-archive.
func Stream(ctx context.Context, w io.Writer, from *selecting.Selection, tempDir string) error {
	s := over(from)
	s.options.DestinationCtx = &types.SystemContext{BigFilesTemporaryDir: tempDir}
	_, err := s.save(ctx, aStream, false, func() (*output.Output, error) { return output.ToWriter(w), nil })
	return err
}

// newSaver returns a saver of images that have not been read.
func newSaver(images []selecting.Wanted, o Options) (*saver, error) {
	s := &saver{options: o, present: map[digest.Digest]bool{}}
	l, err := layouts.Of(o.Transport, s.destinationCtx())
	if err == nil && o.existing != nil {
		l = o.existing.Layout()
	} else if err == nil && o.SkipDockerManifest {
		l, err = layout.WithoutDocker(l)
	}
	if err == nil && o.Select.Without != nil && o.existing != nil {
		err = errors.New("what other archives have can be left out of a new archive only: one that is added to does not store again what it has")
	}
	if err != nil {
		return nil, fmt.Errorf("saving images: %w", err)
	}
	s.options.Select.Layout, s.options.Select.RangeSize = l, s.rangeSize(l)
	s.options.Select.Op = "saving"
	if s.options.Select.Progress == nil {
		s.options.Select.Progress = func(progress.Event) {}
	}
	selects := s.options.Select
	selects.Progress = s.report
	if s.from, err = selecting.New(images, selects); err != nil {
		return nil, fmt.Errorf("saving images: %w", err)
	}
	s.hook()
	return s, nil
}

// over returns a saver of images that have been read.
func over(from *selecting.Selection) *saver {
	s := &saver{from: from, present: map[digest.Digest]bool{}}
	s.options.Select.Progress = func(progress.Event) {}
	s.hook()
	return s
}

// hook has blobs come to s.
func (s *saver) hook() {
	s.from.Store, s.from.Kept, s.from.Fatal = s.store, s.kept, selecting.IsLocal
}

func save(ctx context.Context, path string, images []selecting.Wanted, o Options, create func() (*output.Output, error)) ([]Result, error) {
	s, err := newSaver(images, o)
	if err != nil {
		return nil, err
	}
	defer s.from.Close()
	return s.save(ctx, path, true, create)
}

// save writes the archive, of images that are to be read before or have been.
func (s *saver) save(ctx context.Context, path string, read bool, create func() (*output.Output, error)) ([]Result, error) {
	// Before anything is read, so that a path that is taken fails at once. Nothing is
	// written yet.
	algorithm, err := output.Compression(path, s.options.Compression)
	if err != nil {
		return nil, fmt.Errorf("saving images: %w", err)
	}
	if err := s.checkResume(algorithm); err != nil {
		return nil, err
	}
	out, err := create()
	if err != nil {
		return nil, err
	}
	if s.options.NoSync {
		out.NoSync()
	}
	sum := s.newSum(out, algorithm)
	if out, err = out.With(output.Options{Compress: algorithm, Hash: sum.hash, Split: s.options.Split}); err != nil {
		return nil, err
	}
	if read {
		err = s.from.Read(ctx)
	}
	if err == nil {
		err = s.makeDeltas(ctx)
	}
	defer s.spooled.close()
	if err == nil {
		err = s.prepare(ctx, path, out)
	}
	if err != nil {
		return s.results(), errors.Join(err, out.Abort())
	}
	s.archive, err = writing.New(ctx, out, path, writing.Options{
		Layout: s.from.Layout, Plan: s.from.Plan(), TempDir: s.tempDir(), Existing: s.options.existing, ReadEnd: s.from.Fetcher.ReadEnd, Rests: s.rests(),
	})
	if err != nil {
		return s.results(), err
	}
	if err := s.write(ctx); err != nil {
		return s.results(), errors.Join(s.explain(err, path, out), s.archive.Abort())
	}
	if err := s.archive.Close(ctx); err != nil {
		return s.results(), s.explain(err, path, out)
	}
	if err := sum.finish(ctx, path); err != nil {
		return s.results(), err
	}
	if s.from.AnyFailed() {
		return s.results(), selecting.ErrLeftOut
	}
	return s.results(), nil
}

// prepare does everything between reading manifests and writing the first byte.
func (s *saver) prepare(ctx context.Context, path string, out *output.Output) error {
	if !s.from.AnyGood() {
		return selecting.ErrLeftOut
	}
	if s.options.existing == nil {
		if err := s.from.CheckLeftOut(func(digest.Digest) bool { return false }); err != nil {
			return err
		}
	}
	if err := s.checkSpace(path, out); err != nil {
		return err
	}
	s.notePresentConfigs()
	if err := s.learnLayers(ctx); err != nil {
		return err
	}
	return s.resume(ctx, out)
}
