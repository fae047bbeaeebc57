package copying

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/stall"
)

// PushImage is an image for Push.
type PushImage struct {
	// SaveImage is what AllImages returns of an archive. Of its names nothing depends.
	SaveImage
	// Targets are the names that the image gets in registries. Each has a tag; one with
	// a digest, which must be that of the image, has no tag. With no target, an image
	// that is about others is put into their repositories, under its digest. One whose
	// tag says so, such as a signature of cosign's, is put there too, under that tag.
	Targets []reference.Named
	// Otherwise is the target of an image that has none and is about no other.
	Otherwise reference.Named
}

// LayerCompression is how the layers of an image are compressed that has to get a
// manifest, because its archive has none.
type LayerCompression int

// The compressions.
const (
	// GzipLayers makes a manifest of Docker's schema 2.
	GzipLayers LayerCompression = iota
	// ZstdLayers makes a manifest of OCI's, which alone has these.
	ZstdLayers
)

// PushOptions are the options of Push; the zero value will do.
type PushOptions struct {
	// SourceCtx is for reading the images, DestinationCtx for the registries.
	SourceCtx, DestinationCtx *types.SystemContext
	// Platforms chooses from images that are an index, as SaveOptions.Platforms does. By
	// default an index is pushed as it is, with all of it that its source has.
	Platforms []imgspecv1.Platform
	// Compression is used where the source has a config and uncompressed layers, and no
	// manifest. The same image gets the same digest every time.
	Compression LayerCompression
	// Jobs is how many blobs are sent at the same time; 0 means 6.
	Jobs int
	// RetryTimes is how often something is tried again after an error that may pass. From
	// the second attempt on a large blob goes on where it broke, and attempts after which a
	// registry has a good part more of it are not counted.
	RetryTimes int
	// RetryDelay is how long to wait before each further attempt, unless a registry asks
	// for longer waits; 0 is a second, and twice as long each time.
	RetryDelay time.Duration
	// KeepGoing goes on with the other images when one cannot be pushed.
	KeepGoing bool
	// DryRun asks what is there, and sends nothing.
	DryRun bool
	// Planned, if not nil, is called before anything is sent with what will be pushed
	// under which names. Its error is returned by Push.
	Planned func([]PushResult) error
	// Progress, if not nil, is told what happens. Only blobs that are sent are Started,
	// Read and Finished. It is called concurrently, and must return soon.
	Progress func(Event)
}

// PushResult is what became of an image.
type PushResult struct {
	PushImage // Targets include those that were found
	// Digest is that of the manifest or index, empty if it could not be read, or is not
	// known before the layers are compressed.
	Digest digest.Digest
	// UpToDate is set if the registry had the image under all names.
	UpToDate bool
	// Sent and There are the bytes of blobs that were sent, or would be in a DryRun, and
	// of those that the registry had, or had got with another image.
	Sent, There int64
	// Warnings say what else should be known of the image.
	Warnings []string
	// Err says why the image was not pushed. It is a *PushError.
	Err error
}

// PushError is an error of one image of several.
type PushError struct {
	Source types.ImageReference
	Err    error
}

// Error names the image.
func (e *PushError) Error() string {
	return fmt.Sprintf("pushing %s: %v", transports.ImageName(e.Source), e.Err)
}

// Unwrap returns the error without the name.
func (e *PushError) Unwrap() error { return e.Err }

// ErrNotAllPushed is the error of Push if it kept going, and results say why some images
// were not pushed.
var ErrNotAllPushed = errors.New("not all images could be pushed")

// Push copies images, usually those of archives, to registries. Manifests and indexes
// stay as they are, byte for byte; an image without a manifest gets one. What a
// registry has is not sent: not an image that is there under its name, and no blob that
// is there, in whichever of the repositories that Push puts something in. Each distinct
// blob is sent to a registry once, and verified as it is read. An image appears under
// its name when all of it is there, so that a Push that was interrupted can be repeated;
// then the registry is asked whether it is.
//
// Every manifest is read, and accepted by the policy, before anything is sent. Several
// images are pushed at the same time; what is about others, such as signatures, after what
// they are about. A registry without the referrers API lists it under the tag that stands
// for that. Push returns a result for each image, in their order.
func Push(ctx context.Context, policyContext *signature.PolicyContext, images []PushImage, options *PushOptions) ([]PushResult, error) {
	p, err := newPusher(policyContext, images, options)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if err := p.prepare(ctx); err != nil {
		return p.results(), err
	}
	for _, phase := range p.phases() {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(p.options.Jobs)
		for _, img := range phase {
			g.Go(func() error { return p.fail(img, p.push(gctx, img)) })
		}
		if err := g.Wait(); err != nil {
			return p.results(), err
		}
		if err := ctx.Err(); err != nil {
			return p.results(), context.Cause(ctx)
		}
	}
	if slices.ContainsFunc(p.images, func(img *pushedImage) bool { return img.result.Err != nil }) {
		return p.results(), ErrNotAllPushed
	}
	return p.results(), nil
}

// pusher is one call of Push.
type pusher struct {
	options PushOptions
	reading *saver // reads and checks the manifests
	images  []*pushedImage
	blobs   *sentBlobs
	made    *madeLayers
}

// pushedImage is an image that Push puts somewhere.
type pushedImage struct {
	*savedImage
	isMade bool // its manifest is
	about  []digest.Digest

	mu     sync.Mutex // guards what blobs sent side by side change
	result PushResult
}

func newPusher(policyContext *signature.PolicyContext, images []PushImage, options *PushOptions) (*pusher, error) {
	p := &pusher{}
	if options != nil {
		p.options = *options
	}
	if p.options.Jobs <= 0 {
		p.options.Jobs = defaultJobs
	}
	if p.options.Progress == nil {
		p.options.Progress = func(Event) {}
	}
	if err := checkTargets(images); err != nil {
		return nil, err
	}
	saved := make([]SaveImage, len(images))
	for n, img := range images {
		saved[n] = img.SaveImage
		saved[n].Name, saved[n].Names, saved[n].FreeName = nil, nil, ""
		saved[n].Whole = true
	}
	var err error
	p.reading, err = newSaver(policyContext, saved, &SaveOptions{
		SourceCtx: p.options.SourceCtx, DestinationCtx: p.options.SourceCtx, Platforms: p.options.Platforms, AnyPlatform: true,
		Jobs: p.options.Jobs, RetryTimes: p.options.RetryTimes, RetryDelay: p.options.RetryDelay, KeepGoing: p.options.KeepGoing, Progress: p.options.Progress,
	})
	if err != nil {
		return nil, err
	}
	p.blobs = newSentBlobs(p)
	p.made = newMadeLayers(p)
	for n, img := range images {
		img.Targets = slices.Clone(img.Targets)
		p.images = append(p.images, &pushedImage{savedImage: p.reading.images[n], result: PushResult{PushImage: img}})
	}
	return p, nil
}

// checkTargets fails if something is no name to push to.
func checkTargets(images []PushImage) error {
	if len(images) == 0 {
		return errors.New("pushing images: none is given")
	}
	for _, img := range images {
		targets := img.Targets
		if img.Otherwise != nil {
			targets = append(slices.Clone(targets), img.Otherwise)
		}
		for _, target := range targets {
			_, digested := target.(reference.Digested)
			if _, tagged := target.(reference.Tagged); tagged == digested {
				return fmt.Errorf("pushing %s: %s must have either a tag or a digest", transports.ImageName(img.Source), target)
			}
		}
	}
	return nil
}

func (p *pusher) close() {
	p.made.close()
	p.blobs.client.Close()
	p.reading.close()
}

// prepare reads all manifests and finds out where the images go.
func (p *pusher) prepare(ctx context.Context) error {
	err := p.reading.read(ctx)
	for _, img := range p.images {
		img.result.Digest, img.result.Warnings = img.digest, img.warnings
		if failed := p.reading.fetcher.Err(img.fetched); failed != nil {
			img.setError(failed)
		}
	}
	if err != nil {
		var failed *ImageError
		if errors.As(err, &failed) {
			err = &PushError{Source: failed.Source, Err: failed.Err}
		}
		return err
	}
	for _, img := range p.images {
		if img.result.Err != nil {
			continue
		}
		made, ok := img.src.(interface{ Made(context.Context) bool })
		if img.isMade = ok && made.Made(ctx); img.isMade {
			img.result.Digest = ""
		}
		for _, document := range img.documents {
			if document.Subject != nil && img.found[document.Subject.Digest] == nil { // No part of the image itself.
				img.about = append(img.about, document.Subject.Digest)
			}
		}
	}
	p.place()
	for _, img := range p.images {
		switch {
		case img.result.Err != nil || len(img.result.Targets) > 0:
		case img.result.Otherwise != nil:
			img.result.Targets = []reference.Named{img.result.Otherwise}
		default:
			if err := p.fail(img, errors.New("it has no name, and is about no image that is pushed")); err != nil {
				return err
			}
		}
	}
	if err := p.checkTaken(); err != nil || p.options.Planned == nil {
		return err
	}
	return p.options.Planned(p.results())
}

// setError records why an image was not pushed.
func (i *pushedImage) setError(err error) {
	var failed *ImageError
	if errors.As(err, &failed) {
		err = failed.Err
	}
	i.result.Err = &PushError{Source: i.Source, Err: err}
}

// fail records an error of an image, and returns it if it is the end of the others too.
func (p *pusher) fail(img *pushedImage, err error) error {
	if err == nil {
		return nil
	}
	img.setError(err)
	if p.options.KeepGoing && !isLocal(err) {
		return nil
	}
	return img.result.Err
}

func (p *pusher) results() []PushResult {
	results := make([]PushResult, len(p.images))
	for n, img := range p.images {
		results[n] = img.result
	}
	return results
}

// retry tries something again that failed for a reason that may pass.
func (p *pusher) retry(ctx context.Context, img *pushedImage, blob digest.Digest, f func() error) error {
	announce := func(err error) {
		e := Event{Kind: Retried, Blob: blob, Err: err}
		if blob == "" {
			e.Image = img.Source
		}
		p.options.Progress(e)
	}
	return p.reading.retries().Do(ctx, announce, f)
}

// push puts an image into all of its repositories.
func (p *pusher) push(ctx context.Context, img *pushedImage) error {
	if img.isMade {
		if err := p.made.complete(ctx, img); err != nil {
			return err
		}
	}
	var missing []reference.Named
	for _, target := range img.result.Targets {
		there, err := p.isThere(ctx, img, target)
		if err != nil {
			return err
		}
		if !there {
			missing = append(missing, target)
		}
	}
	img.result.UpToDate = len(missing) == 0
	repositories := map[string]bool{}
	for _, target := range missing {
		if err := p.pushTo(ctx, img, target, !repositories[target.Name()]); err != nil {
			return err
		}
		repositories[target.Name()] = true
	}
	return p.list(ctx, img)
}

// top returns what the names of an image stand for.
func (i *pushedImage) top() *image.Document { return i.documents[len(i.documents)-1] }

// pushTo puts an image, unless only its name is missing, into a repository.
func (p *pusher) pushTo(ctx context.Context, img *pushedImage, target reference.Named, all bool) error {
	ref, err := docker.NewReference(target)
	if err != nil {
		return err
	}
	to := &repository{pusher: p, ref: ref, name: reference.TrimNamed(target)}
	defer to.close()
	if all {
		if err := p.pushContent(ctx, img, to); err != nil {
			return err
		}
	}
	if p.options.DryRun {
		return nil
	}
	if added, err := p.addToList(ctx, img, target); added || err != nil {
		return err
	}
	err = to.putManifest(ctx, img, img.top(), nil)
	if err != nil && len(img.missing) > 0 {
		err = fmt.Errorf("%w (%w)", err, &MissingError{img.missing})
	}
	if err != nil {
		return err
	}
	return p.confirm(ctx, img, target)
}

// pushContent puts all into a repository that an image leads to.
func (p *pusher) pushContent(ctx context.Context, img *pushedImage, to *repository) error {
	g, gctx := errgroup.WithContext(ctx)
	seen := map[digest.Digest]bool{}
	for b := range image.BlobsOf(img.documents) {
		if b.Kind == image.KindDocument || seen[b.Digest] {
			continue
		}
		seen[b.Digest] = true
		g.Go(func() error { return p.blobs.put(gctx, img, to, b) })
	}
	if err := g.Wait(); err != nil || p.options.DryRun {
		return err
	}
	for _, document := range img.documents[:len(img.documents)-1] {
		if err := to.putManifest(ctx, img, document, &document.Descriptor.Digest); err != nil {
			return err
		}
	}
	return nil
}

func (r *repository) putManifest(ctx context.Context, img *pushedImage, document *image.Document, instance *digest.Digest) error {
	return r.do(ctx, img, "", func(ctx context.Context, w *stall.Watch, dest types.ImageDestination) error {
		w.Patient()
		return dest.PutManifest(ctx, document.Raw, instance)
	})
}
