package copying

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/internal/writing"
)

// SaveImage is an image for Save.
type SaveImage struct {
	// Source is where the image comes from, in any transport.
	Source types.ImageReference
	// SourceCtx, if not nil, is for reading this image instead of the SourceCtx of options.
	SourceCtx *types.SystemContext
	// Name is what the image is called in the archive; nil for no name. A digest
	// in it must be that of the image, or of the index it is chosen from.
	Name reference.Named
	// Names are what else it is called, in their order.
	Names []reference.Named
	// FreeName is what the image is called if that is no reference, such as V1.0_RC.
	// Only an image-archive keeps it; Name must be nil.
	FreeName string
	// Whole saves an index as it is, with all of it that the source has, and says what
	// it has not. It is for what is complete although not all of its index is there, as
	// images of archives are. Nothing comes of it if the layout holds one platform of
	// an image, or SaveOptions says what to choose.
	Whole bool
	// Platform, if not nil, is what is chosen from the image instead of
	// SaveOptions.Platforms. AllPlatforms takes all the same.
	Platform *imgspecv1.Platform
}

// SaveOptions are the options of Save and PlanSave; the zero value will do.
type SaveOptions struct {
	// Transport says which kind of archive to write: dockerarchive.Transport or, as
	// nil does, dockerarchive.ImageTransport.
	Transport types.ImageTransport
	// SourceCtx is for reading the images, DestinationCtx for writing the archive.
	SourceCtx, DestinationCtx *types.SystemContext

	// Platforms chooses from images that are an index; an image that is not must be
	// for one of them, and a warning says which of them it is not for. By default that is one platform, the one that SourceCtx
	// asks for or this machine's. One platform is saved as a single image under
	// its own digest. Of several, an index is made that lists these only, with
	// the attestations that belong to them: one that lists what is not there
	// keeps the digest, but containerd does not import all of it.
	Platforms []imgspecv1.Platform
	// AnyPlatform takes an image that is not an index even if it is for none of
	// Platforms. Otherwise that is an *errdef.NoPlatformError.
	AnyPlatform bool
	// AllPlatforms saves every index as it is, with all that it lists.
	AllPlatforms bool
	// SkipMissing saves of an index what its source has, if that is anything. The index
	// is saved as it is.
	// Otherwise a *MissingError says what there is not.
	SkipMissing bool
	// KeepIndex saves the index that platforms are chosen from as it is, under its
	// own digest, which somebody may have pinned, although not all that it lists is
	// in the archive: what docker save --platform and ctr images export write.
	// ctr images import --all-platforms refuses it.
	KeepIndex bool

	// SkipDockerManifest leaves manifest.json out, as
	// dockerarchive.WriterOptions.SkipDockerManifest does.
	SkipDockerManifest bool
	// NoSync leaves it to the system when the archive gets to the disk, as
	// dockerarchive.WriterOptions.NoSync does.
	NoSync bool
	// Resume has Save write to a file of the archive's name and ".partial", which stays if
	// Save fails or the process is killed, and go on with one that is there. Blobs in it
	// are verified as any other, and not fetched again; of those that are not complete
	// the rest is fetched. The archive has the same bytes as without. Others who write to
	// that file get errdef.ErrBusy. It is for regular files that are not compressed, and for
	// systems with file locks; Read events tell of bytes that are there as well. Where
	// layers are decompressed, of those that are not complete all is fetched again.
	Resume bool
	// SkipNonDistributable leaves out layers of the non-distributable media types.
	// Otherwise they are saved if they can be read.
	SkipNonDistributable bool
	// LeaveOut, if not nil, says which layers to leave out: for whoever gets them
	// another way. Only who has them can use the image. It may be called concurrently.
	LeaveOut func(layer imgspecv1.Descriptor) bool

	// Without, if not nil, leaves out the layers that other archives have, of which it
	// says where they are in the archive's table of contents. Only with those is the
	// archive complete: to Add its images to one of those, or to load them where the
	// layers are, is what it is for. Only an image-archive that is new can be so.
	Without *Without

	// Referrers, if not nil, saves what registries have about the images too. Only an
	// image-archive holds it.
	Referrers *ReferrerOptions

	// Compression is none, gzip or zstd. If it is empty, the archive is compressed as
	// its path says: .tar.gz and .tgz, .tar.zst and .tzst, anything else is not.
	Compression string
	// Split, if not 0, is the size in bytes of the parts that the archive is written in,
	// as dockerarchive.WriterOptions.Split is.
	Split int64
	// ArchiveDigest, if not nil, becomes the SHA-256 of the archive as it is written,
	// compressed or not. A file that is not compressed is read again for it.
	ArchiveDigest *digest.Digest

	// Jobs is how many blobs, or manifests, are read at the same time; 0 means 6. Those of
	// registries are read in ranges if they are large, and several of one blob at once while
	// fewer blobs are read. When a registry says that it has too many requests, half as many.
	Jobs int
	// RetryTimes is how often reading a blob or a manifest is resumed after an
	// error that may pass.
	RetryTimes int
	// RetryDelay is how long to wait before each further attempt, unless a registry asks
	// for more. 0 is a second, and twice as long each time.
	RetryDelay time.Duration
	// KeepGoing leaves out images that cannot be saved. To a stream, parts of
	// them may have been written already.
	KeepGoing bool
	// Progress, if not nil, is told what happens. It is called concurrently, and
	// must return soon.
	Progress func(Event)

	// Wait has Add wait, as long as the context lasts, for others who change the
	// archive. Otherwise the error wraps errdef.ErrBusy.
	Wait bool

	// KeepUntagged has Add keep an image in the table of contents that loses its last
	// name, as an image without one.
	KeepUntagged bool

	existing   *writing.Existing // the archive that images are added to
	keepThin   bool              // leave out what archives that are read say that they leave out
	retryDelay time.Duration     // before the first retry, for tests
	rangeSize  int               // in bytes, for tests
}

// defaultJobs is the number that containers/image uses for layers.
const defaultJobs = 6

// EventKind says what an Event is about.
type EventKind int

// The kinds of events. More may come.
const (
	// Planned says how many distinct layers and configs are to be fetched, in Blobs, how
	// many bytes they have, in Size, and how many others the archive has already, in
	// Present, of which nothing more is said.
	Planned EventKind = iota
	// Started says that a Blob is read, of which Size bytes are expected. Image is the
	// one that needs it when images are saved, nil if several do.
	Started
	// Read says that so many more Bytes of a Blob have arrived.
	Read
	// Retried says that reading is about to be tried again after Err: of a Blob, which
	// goes on at Offset, or of the manifest of an Image.
	Retried
	// Finished says that a Blob is in the archive or, in Err, why it is not.
	Finished
	// Waiting says that a Host has sent nothing for 50 seconds. After 60 its connection
	// counts as broken, and what was asked is tried again; five minutes are for a registry
	// that has something to store, and for copies.
	Waiting
)

// Event is something that happens while images are saved. Which fields are set
// depends on its kind.
type Event struct {
	Kind    EventKind
	Blobs   int
	Present int // blobs
	Blob    digest.Digest
	Image   types.ImageReference
	Size    int64 // in bytes, -1 if unknown
	Bytes   int
	Err     error
	Host    string

	Offset int64 // in bytes
}

// SaveResult is what became of an image.
type SaveResult struct {
	SaveImage
	// Digest is that of the manifest or index in the archive; in the layout that
	// keeps neither, that which the other would have had.
	Digest digest.Digest
	// Size is how many bytes its layers and configs have at the source, each counted
	// once; -1 if that is not known.
	Size int64
	// Platforms are what its configs say it is for, as os/architecture[/variant], in
	// their order.
	Platforms []string
	// LeftOut are the layers that other archives have and this one has not, because of
	// SaveOptions.Without.
	LeftOut []errdef.LeftOut
	// Warnings say what else should be known of the image: that it is not in
	// manifest.json, that another platform was taken, what was corrected.
	Warnings []string
	// Subject is what this is about, if it is no image that was asked for but one of its
	// referrers; empty of an image.
	Subject digest.Digest
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
