package copying

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/internal/writing"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

// saver is one call of Save or PlanSave.
type saver struct {
	options  SaveOptions
	layout   layout.Layout
	policy   *signature.PolicyContext
	policyMu sync.Mutex // a PolicyContext does one thing at a time
	images   []*savedImage
	fetcher  *fetching.Fetcher
	archive  *writing.Archive // nil in PlanSave
	partial  *output.File     // that is gone on with; nil if none is
	places   writing.Places   // of blobs in it
	unpacked []unpackedLayer  // those that the archive may have

	opened []types.ImageSource // of referrers

	configsMu sync.Mutex
	configs   map[digest.Digest][]byte // of images that are still to be completed
	present   map[digest.Digest]bool   // blobs that the archive has; not changed once blobs are fetched
}

// layouts is what a transport of this module has.
type layouts interface {
	Layout(sys *types.SystemContext) layout.Layout
}

func newSaver(policyContext *signature.PolicyContext, images []SaveImage, options *SaveOptions) (*saver, error) {
	s := &saver{policy: policyContext, configs: map[digest.Digest][]byte{}, present: map[digest.Digest]bool{}}
	if options != nil {
		s.options = *options
	}
	if s.options.Jobs <= 0 {
		s.options.Jobs = defaultJobs
	}
	if s.options.Progress == nil {
		s.options.Progress = func(Event) {}
	}
	if s.options.Transport == nil {
		s.options.Transport = dockerarchive.ImageTransport
	}
	transport, ok := s.options.Transport.(layouts)
	if !ok {
		return nil, fmt.Errorf("saving images: transport %s does not write archives", s.options.Transport.Name())
	}
	s.layout = transport.Layout(s.destinationCtx())
	if s.options.existing != nil {
		s.layout, s.options.SkipDockerManifest = s.options.existing.Layout(), false
	}
	if len(images) == 0 {
		return nil, errors.New("saving images: none is given")
	}
	if err := s.leaveOut(); err != nil {
		return nil, fmt.Errorf("saving images: %w", err)
	}
	if s.layout.Unpacks() && (s.options.AllPlatforms || len(s.options.Platforms) > 1) {
		return nil, fmt.Errorf("saving images: an archive of this kind holds one platform of an image; choose one, or write an %s", dockerarchive.ImageTransport.Name())
	}
	if s.options.AllPlatforms && len(s.options.Platforms) > 0 {
		return nil, errors.New("saving images: either all platforms or some can be saved, not both")
	}
	if err := s.checkReferrers(); err != nil {
		return nil, err
	}
	s.fetcher = fetching.New(fetching.Options{
		Jobs:      s.options.Jobs,
		KeepGoing: s.options.KeepGoing,
		Backoff:   func() *retry.Backoff { return s.retries().Backoff() },
		Kept:      s.kept,
		Store:     s.store,
		Fatal:     isLocal,
		RangeSize: s.rangeSize(),
		Busy:      isBusy,
		Progress:  s.report,
	})
	for _, img := range images {
		if img.Name != nil {
			img.Name = reference.TagNameOnly(img.Name)
		}
		img.Names = slices.Clone(img.Names) // The caller's stay as they are.
		for i, name := range img.Names {
			img.Names[i] = reference.TagNameOnly(name)
		}
		saved := &savedImage{SaveImage: img}
		saved.fetched = s.fetcher.AddImage(saved, func(err error) error { return &ImageError{Source: img.Source, Err: err} })
		s.images = append(s.images, saved)
	}
	return s, nil
}

// report tells the caller what happens to a blob, unless it is there already.
func (s *saver) report(e fetching.Event) {
	if s.present[e.Blob.Digest] && e.Kind != fetching.Retried {
		return
	}
	kind := map[fetching.EventKind]EventKind{
		fetching.Started: Started, fetching.Read: Read, fetching.Retried: Retried, fetching.Finished: Finished,
	}[e.Kind]
	s.options.Progress(Event{Kind: kind, Blob: e.Blob.Digest, Image: s.sourceOf(e.Image), Size: e.Blob.Size, Bytes: e.N, Err: e.Err, Offset: e.Offset})
}

// waiting tells the caller of a registry that sends nothing.
func (s *saver) waiting(host string) {
	s.options.Progress(Event{Kind: Waiting, Host: host})
}

// sourceCtx returns the context for reading an image.
func (s *saver) sourceCtx(img *savedImage) *types.SystemContext {
	return cmp.Or(img.SourceCtx, s.options.SourceCtx)
}

// sourceOf returns what the fetcher calls an image by, nil if it is none that a user named.
func (s *saver) sourceOf(fetched *fetching.Image) types.ImageReference {
	for _, img := range s.images {
		if fetched != nil && img.fetched == fetched && !img.isReferrer() {
			return img.Source
		}
	}
	return nil
}

func (s *saver) close() {
	for _, img := range s.images {
		if img.src != nil {
			img.src.Close() // It has only been read from.
		}
	}
	for _, src := range s.opened {
		src.Close() // Likewise.
	}
}

// destinationCtx returns the context for the archive, which prefers the platform
// that was asked for first.
func (s *saver) destinationCtx() *types.SystemContext {
	if len(s.options.Platforms) == 0 {
		return s.options.DestinationCtx
	}
	return choosing(s.options.DestinationCtx, s.options.Platforms[0])
}

func (s *saver) tempDir() string {
	if s.options.DestinationCtx == nil {
		return ""
	}
	return s.options.DestinationCtx.BigFilesTemporaryDir
}

// read opens all sources and reads all manifests.
func (s *saver) read(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.options.Jobs)
	for _, img := range s.images {
		g.Go(func() error {
			err := s.resolve(gctx, img)
			if err == nil || gctx.Err() != nil && errors.Is(err, context.Canceled) {
				return err // Another image is the reason.
			}
			if err := s.fail(img, err); err != nil && endsReading(err) {
				return err
			}
			return nil
		})
	}
	err := g.Wait()
	if ctxErr := ctx.Err(); ctxErr != nil {
		return cmp.Or(err, ctxErr)
	}
	if !s.options.KeepGoing {
		err = s.faults()
	}
	if err != nil {
		return err
	}
	if err := s.askParents(ctx); err != nil {
		return err
	}
	if err := s.gatherReferrers(ctx); err != nil {
		return err
	}
	if err := s.checkNames(); err != nil {
		return err
	}
	s.collect()
	return nil
}

// checkNames fails if one name would mean two images.
func (s *saver) checkNames() error {
	byName := map[string]*savedImage{}
	for _, img := range s.images {
		if s.failed(img) {
			continue
		}
		for _, name := range img.AllNames() {
			other, ok := byName[name]
			if !ok {
				byName[name] = img
			} else if other.digest != img.digest {
				return fmt.Errorf("two images want the name %s, of which a client would keep one: %s (%s) and %s (%s); name or save them separately, or save an index that lists them", name,
					transports.ImageName(other.Source), other.digest, transports.ImageName(img.Source), img.digest)
			}
		}
	}
	return nil
}

// fail records why an image cannot be saved, and returns that if it is the end
// of the others too.
func (s *saver) fail(img *savedImage, err error) error { return s.fetcher.Fail(img.fetched, err) }

func (s *saver) failed(img *savedImage) bool { return s.fetcher.Err(img.fetched) != nil }

func (s *saver) anyFailed() bool {
	for _, img := range s.images {
		if s.failed(img) {
			return true
		}
	}
	return false
}

func (s *saver) anySaved() bool {
	for _, img := range s.images {
		if !s.failed(img) {
			return true
		}
	}
	return false
}

func (s *saver) results() []SaveResult {
	results := make([]SaveResult, len(s.images))
	for i, img := range s.images {
		results[i] = SaveResult{Subject: img.subject(), SaveImage: img.SaveImage, Digest: img.digest, Size: img.size(), Platforms: img.platforms, LeftOut: img.leftOut(), Warnings: img.warnings, Err: s.fetcher.Err(img.fetched)}
	}
	return results
}
