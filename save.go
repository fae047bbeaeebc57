package dockerarchive

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/transports"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/output"
)

// SaveImage is an image for Save.
type SaveImage struct {
	// Source is where the image comes from, in any transport.
	Source types.ImageReference
	// Name is what the image is called in the archive; nil for no name. A digest
	// in it must be that of the image, or of the index it is chosen from.
	Name reference.Named
}

// SaveOptions are the options of Save and PlanSave; the zero value will do.
type SaveOptions struct {
	// Transport says which kind of archive to write: this package's Transport or,
	// as nil does, ImageTransport.
	Transport types.ImageTransport
	// SourceCtx is for reading the images, DestinationCtx for writing the archive.
	SourceCtx, DestinationCtx *types.SystemContext

	// Platforms chooses from images that are an index; an image that is not is
	// taken as it is. By default that is one platform, the one that SourceCtx
	// asks for or this machine's. One platform is saved as a single image under
	// its own digest. Of several, an index is made that lists these only, with
	// the attestations that belong to them: one that lists what is not there
	// keeps the digest, but containerd does not import all of it.
	Platforms []imgspecv1.Platform
	// AllPlatforms saves every index as it is, with all that it lists.
	AllPlatforms bool

	// Jobs is how many blobs, or manifests, are read at the same time; 0 means 6.
	Jobs int
	// RetryTimes is how often reading a blob or a manifest is resumed after an
	// error that may pass.
	RetryTimes int
	// KeepGoing leaves out images that cannot be saved. To a stream, parts of
	// them may have been written already.
	KeepGoing bool
	// Progress, if not nil, is told what happens.
	Progress SaveProgress

	retryDelay time.Duration // before the first retry, for tests
}

// defaultJobs is the number that containers/image uses for layers.
const defaultJobs = 6

// SaveProgress is told what Save does. Its methods are called concurrently, and
// must return soon.
type SaveProgress interface {
	// Planned says how many distinct layers and configs there are, and how many
	// bytes they have, or -1 if that is not known of all.
	Planned(blobs int, size int64)
	// Started says that a blob, of which size bytes are expected, or -1, is read.
	Started(blob digest.Digest, size int64)
	// Read says that so many more bytes of a blob have arrived.
	Read(blob digest.Digest, n int)
	// Retried says that reading is about to be tried again; what is a digest or
	// the name of an image.
	Retried(what string, err error)
	// Finished says that a blob is in the archive, or why it is not.
	Finished(blob digest.Digest, err error)
}

// SaveResult is what became of an image.
type SaveResult struct {
	SaveImage
	// Digest is that of the manifest or index in the archive; in the layout that
	// keeps neither, that which the other would have had.
	Digest digest.Digest
	// Err says why the image is not in the archive. It is an *ImageError.
	Err error
}

// ImageError is an error of one image of several.
type ImageError struct {
	Source types.ImageReference
	Err    error
}

// Error names the image.
func (e *ImageError) Error() string {
	return fmt.Sprintf("saving %s: %v", transports.ImageName(e.Source), e.Err)
}

// Unwrap returns the error without the name.
func (e *ImageError) Unwrap() error { return e.Err }

// ErrImagesLeftOut is the error of Save if it kept going, and the archive is
// complete but for images whose results say why.
var ErrImagesLeftOut = errors.New("not all images could be saved")

// Save writes images, from any sources, to a new archive at path, of which
// NewWriter says what it may be. Every manifest is read, and accepted by the
// policy, before the first blob is; then every distinct blob is read once, and
// verified as it is read. The bytes of the archive depend on the images, their
// names and their order only.
//
// It returns a result for each image, in their order. An error means that there
// is no archive, unless it is ErrImagesLeftOut and there are images left.
func Save(ctx context.Context, policyContext *signature.PolicyContext, path string, images []SaveImage, options *SaveOptions) ([]SaveResult, error) {
	s, err := newSaver(policyContext, images, options)
	if err != nil {
		return nil, err
	}
	defer s.close()
	// Before anything is read, so that nobody waits to hear that the path is
	// taken. Nothing is written yet.
	out, err := output.Create(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := s.read(ctx); err != nil {
		return s.results(), errors.Join(err, out.Abort())
	}
	if !s.anySaved() {
		return s.results(), errors.Join(ErrImagesLeftOut, out.Abort())
	}
	if err := s.checkSpace(out); err != nil {
		return s.results(), errors.Join(err, out.Abort())
	}
	w, err := newWriter(out, path, &writerOptions{transport: s.transport, plan: s.plan()}, s.destinationCtx())
	if err != nil {
		return s.results(), err
	}
	if err := s.write(ctx, w); err != nil {
		return s.results(), errors.Join(s.explain(err, out), w.Abort())
	}
	if err := w.close(ctx); err != nil {
		return s.results(), s.explain(err, out)
	}
	if s.anyFailed() {
		return s.results(), ErrImagesLeftOut
	}
	return s.results(), nil
}

// saver is one call of Save or PlanSave.
type saver struct {
	options   SaveOptions
	transport archiveTransport
	policy    *signature.PolicyContext
	policyMu  sync.Mutex // a PolicyContext does one thing at a time
	images    []*savedImage
	blobs     []*savedBlob // distinct layers and configs, in the order of the archive

	mu sync.Mutex // for the errors of images
}

func newSaver(policyContext *signature.PolicyContext, images []SaveImage, options *SaveOptions) (*saver, error) {
	s := &saver{transport: ImageTransport, policy: policyContext}
	if options != nil {
		s.options = *options
	}
	if s.options.Jobs <= 0 {
		s.options.Jobs = defaultJobs
	}
	if s.options.Progress == nil {
		s.options.Progress = noProgress{}
	}
	if t := s.options.Transport; t != nil {
		own, ok := t.(archiveTransport)
		if !ok {
			return nil, fmt.Errorf("saving images: transport %s does not write archives", t.Name())
		}
		s.transport = own
	}
	if !s.transport.layout.keepsDigests() && (s.options.AllPlatforms || len(s.options.Platforms) > 1) {
		return nil, fmt.Errorf("saving images: an archive of this kind holds one platform of an image; choose one, or write an %s", ImageTransport.name)
	}
	if s.options.AllPlatforms && len(s.options.Platforms) > 0 {
		return nil, errors.New("saving images: either all platforms or some can be saved, not both")
	}
	for _, image := range images {
		if image.Name != nil {
			image.Name = reference.TagNameOnly(image.Name)
		}
		s.images = append(s.images, &savedImage{SaveImage: image})
	}
	return s, nil
}

func (s *saver) close() {
	for _, image := range s.images {
		if image.src != nil {
			image.src.Close() // It has only been read from.
		}
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

// read opens all sources and reads all manifests.
func (s *saver) read(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.options.Jobs)
	for _, image := range s.images {
		g.Go(func() error {
			err := s.resolve(gctx, image)
			if err == nil {
				return nil
			}
			return s.fail(image, err)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
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
	for _, image := range s.images {
		if image.Name == nil || image.failed() {
			continue
		}
		other, ok := byName[image.Name.String()]
		if !ok {
			byName[image.Name.String()] = image
		} else if other.digest != image.digest {
			return fmt.Errorf("two images want the name %s, of which a client would keep one: %s (%s) and %s (%s); name or save them separately", image.Name,
				transports.ImageName(other.Source), other.digest, transports.ImageName(image.Source), image.digest)
		}
	}
	return nil
}

// fail records why an image cannot be saved, and returns that if it is the end
// of the others too.
func (s *saver) fail(image *savedImage, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if image.err == nil {
		image.err = &ImageError{Source: image.Source, Err: err}
	}
	if s.options.KeepGoing {
		return nil
	}
	return image.err
}

func (s *saver) failedImage(image *savedImage) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return image.failed()
}

func (s *saver) anyFailed() bool {
	for _, image := range s.images {
		if s.failedImage(image) {
			return true
		}
	}
	return false
}

func (s *saver) anySaved() bool {
	for _, image := range s.images {
		if !s.failedImage(image) {
			return true
		}
	}
	return len(s.images) == 0
}

func (s *saver) results() []SaveResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	results := make([]SaveResult, len(s.images))
	for i, image := range s.images {
		results[i] = SaveResult{SaveImage: image.SaveImage, Digest: image.digest, Err: image.err}
	}
	return results
}

// checkSpace fails if the archive will certainly not fit on the disk.
func (s *saver) checkSpace(out *output.Output) error {
	need, known := s.blobSpace()
	if out.Stream() || !known {
		return nil
	}
	free, ok := output.Free(out.Dir())
	if !ok || need <= free {
		return nil
	}
	return spaceError(out.Dir(), need, free, syscall.ENOSPC)
}

// explain adds figures to the error of a full disk.
func (s *saver) explain(err error, out *output.Output) error {
	if !errors.Is(err, syscall.ENOSPC) || out.Stream() {
		return err
	}
	free, ok := output.Free(out.Dir())
	if !ok {
		return err
	}
	need, _ := s.blobSpace()
	return spaceError(out.Dir(), need, free, err)
}

func spaceError(dir string, need, free int64, err error) error {
	return fmt.Errorf("the disk of %s is too small: the archive needs at least %d bytes, %d are free; free some or choose another disk: %w", dir, need, free, err)
}

type noProgress struct{}

func (noProgress) Planned(int, int64)            {}
func (noProgress) Started(digest.Digest, int64)  {}
func (noProgress) Read(digest.Digest, int)       {}
func (noProgress) Retried(string, error)         {}
func (noProgress) Finished(digest.Digest, error) {}
