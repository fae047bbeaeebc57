package copying

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"

	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/writing"
)

// ErrImagesLeftOut is the error of Save if it kept going, and the archive is
// complete but for images whose results say why.
var ErrImagesLeftOut = errors.New("not all images could be saved")

// Save writes images, from any sources, to a new archive at path, of which
// dockerarchive.NewWriterContext says what it may be. Every manifest is read, and
// accepted by the policy, before the first blob is; then every distinct blob is
// read once, and verified as it is read. The bytes of the archive depend on the
// images, their names and their order only.
//
// An image that is given several times is in the archive once, with all its names. Two
// images of one name are an error, for different platforms too: images become an index
// only if one is given that lists them.
//
// It returns a result for each image, in their order, and for each of the Referrers,
// in the order of the archive. An error means that there
// is no archive, unless it is ErrImagesLeftOut and there are images left. If manifests
// of several images cannot be read, it is an *ImagesError, of one an *ImageError.
func Save(ctx context.Context, policyContext *signature.PolicyContext, path string, images []SaveImage, options *SaveOptions) ([]SaveResult, error) {
	return save(ctx, policyContext, path, images, options, func() (*output.Output, error) {
		if options != nil && options.Resume && options.Split == 0 {
			return output.CreatePartial(ctx, path)
		}
		return output.CreateSplit(ctx, path, options.split())
	})
}

// SaveTo is Save to a writer, to which the archive is written from start to end,
// as to a pipe. If it fails, w has got a part of an archive, whose end is missing.
func SaveTo(ctx context.Context, policyContext *signature.PolicyContext, w io.Writer, images []SaveImage, options *SaveOptions) ([]SaveResult, error) {
	return save(ctx, policyContext, "a stream", images, options, func() (*output.Output, error) {
		if options != nil && options.Resume {
			return nil, errors.New("saving images: what is written to a stream cannot be resumed")
		}
		return output.ToWriter(w), nil
	})
}

func (o *SaveOptions) split() int64 {
	if o == nil {
		return 0
	}
	return o.Split
}

func save(ctx context.Context, policyContext *signature.PolicyContext, path string, images []SaveImage, options *SaveOptions, create func() (*output.Output, error)) ([]SaveResult, error) {
	s, err := newSaver(policyContext, images, options)
	if err != nil {
		return nil, err
	}
	defer s.close()
	// Before anything is read, so that nobody waits to hear that the path is
	// taken. Nothing is written yet.
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
	if err := s.prepare(ctx, path, out); err != nil {
		return s.results(), errors.Join(err, out.Abort())
	}
	s.archive, err = writing.New(ctx, out, path, writing.Options{
		Layout: s.layout, Plan: s.plan(), TempDir: s.tempDir(), Existing: s.options.existing, ReadEnd: s.fetcher.ReadEnd, Rests: s.rests(),
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
	if s.anyFailed() {
		return s.results(), ErrImagesLeftOut
	}
	return s.results(), nil
}

// prepare does all that comes before the first byte is written.
func (s *saver) prepare(ctx context.Context, path string, out *output.Output) error {
	if err := s.read(ctx); err != nil {
		return err
	}
	if !s.anySaved() {
		return ErrImagesLeftOut
	}
	if s.options.existing == nil {
		if err := s.checkLeftOut(func(digest.Digest) bool { return false }); err != nil {
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

// checkSpace fails if the archive will certainly not fit on the disk.
func (s *saver) checkSpace(path string, out *output.Output) error {
	need, known, err := s.blobSpace()
	if err != nil {
		return err
	}
	if out.Stream() || !known {
		return nil
	}
	free, ok := local.Free(out.Dir())
	if !ok || need <= free+out.Allocated() {
		return nil
	}
	return spaceError(path, need, free, syscall.ENOSPC)
}

// explain adds figures to the error of a full disk.
func (s *saver) explain(err error, path string, out *output.Output) error {
	if !errors.Is(err, syscall.ENOSPC) || out.Stream() {
		return err
	}
	free, ok := local.Free(out.Dir())
	if !ok {
		return err
	}
	need, _, sizeErr := s.blobSpace()
	if sizeErr != nil {
		return err
	}
	return spaceError(path, need, free, err)
}

func spaceError(path string, need, free int64, err error) error {
	return fmt.Errorf("the disk is too small for %s: the archive needs at least %d bytes, %d are free; free some or choose another disk: %w", path, need, free, err)
}
