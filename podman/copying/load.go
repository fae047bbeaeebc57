package copying

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/daemon"
)

// LoadOptions are the options of Load; the zero value will do.
type LoadOptions struct {
	// SourceCtx is for reading the images. Of DestinationCtx, the certificates for the
	// daemon and the directory for temporary files count.
	SourceCtx, DestinationCtx *types.SystemContext
	// Host is where the Docker daemon is, as in unix://PATH, tcp://HOST:PORT or ssh://HOST, and Context
	// the name of a context of the docker command. With neither it is found as that command
	// finds it.
	Host, Context string
	// Platforms chooses from images that are an index. By default a daemon whose images
	// containerd keeps gets all that is there, and another one the platform that it runs.
	Platforms []imgspecv1.Platform
	// Full sends all, whatever the daemon has.
	Full bool
	// Jobs is how many manifests are read at the same time; 0 means 6.
	Jobs int
	// RetryTimes is how often reading is tried again after an error that may pass.
	RetryTimes int
	// RetryDelay is how long to wait before each further attempt; 0 is a second, and twice
	// as long each time.
	RetryDelay time.Duration
	// Progress, if not nil, is told what happens: Planned with the Size of what will be
	// sent, Read with how many more Bytes have been, and Retried with why all is sent
	// after all, after which it begins anew. It must return soon.
	Progress func(Event)
}

// Loaded is what Load has done.
type Loaded struct {
	// Images are those that were given, in their order.
	Images []LoadedImage
	// Sent and LeftOut are the bytes of the archives that were sent, and of the layers
	// that the daemon had.
	Sent, LeftOut int64
}

// LoadedImage is what became of an image.
type LoadedImage struct {
	SaveImage
	// ID is that by which the daemon knows the image: the digest of its config or, where
	// containerd keeps the images, of its manifest or index.
	ID digest.Digest
	// Skipped says why the image was not sent, if it is none that Docker could run.
	Skipped string
	// Warnings say what else should be known of the image.
	Warnings []string
}

// LoadError is an error of one image of several.
type LoadError struct {
	Source types.ImageReference
	Err    error
}

// Error names the image.
func (e *LoadError) Error() string {
	return fmt.Sprintf("loading %s: %v", transports.ImageName(e.Source), e.Err)
}

// Unwrap returns the error without the name.
func (e *LoadError) Unwrap() error { return e.Err }

// ErrNotLoaded is the error of Load if the daemon took everything without a word, and has
// not got it.
var ErrNotLoaded = errors.New("the docker daemon has not got what it was sent")

// Load puts images, usually those of archives, into a Docker daemon, under their names.
// Layers are not sent that belong to images that the daemon has, if they have the same
// layers below. If the daemon does not accept that, as when something was removed from it
// meanwhile, everything is sent. In the end the daemon is asked whether it has the images.
//
// Every manifest and config is read, and accepted by the policy, before anything is sent.
// Layers are verified as they are sent; the table of contents, without which the daemon
// makes no image, comes last.
func Load(ctx context.Context, policyContext *signature.PolicyContext, images []SaveImage, options *LoadOptions) (*Loaded, error) {
	l := newLoader(policyContext, options)
	config := daemonConfig(l.options.DestinationCtx)
	config.Host = l.options.Host
	config, err := daemon.Find(daemon.Chosen{Config: config, Context: l.options.Context})
	if err != nil {
		return nil, err
	}
	if l.daemon, err = daemon.Open(config); err != nil {
		return nil, err
	}
	defer l.daemon.Close()
	if err := l.prepare(ctx, whole(images)); err != nil {
		return l.done, ofLoad(err)
	}
	err = l.sendAndCheck(ctx)
	var refused *daemon.RefusedError
	if len(l.leftOut) > 0 && (errors.As(err, &refused) || errors.Is(err, ErrNotLoaded)) {
		l.options.Progress(Event{Kind: Retried, Err: err})
		l.leftOut, l.done.LeftOut = nil, 0
		err = l.sendAndCheck(ctx)
	}
	return l.done, ofLoad(err)
}

// ofLoad says of an error that came from saving what was done in truth.
func ofLoad(err error) error {
	var failed *ImageError
	if errors.As(err, &failed) {
		return &LoadError{Source: failed.Source, Err: failed.Err}
	}
	return err
}

// loader is one call of Load.
type loader struct {
	options LoadOptions
	policy  *signature.PolicyContext
	daemon  *daemon.Daemon // nil if store is not
	store   ContentStore
	kind    daemon.Kind
	images  []*loadedImage         // those that are sent
	leftOut map[digest.Digest]bool // layers
	done    *Loaded
}

func newLoader(policyContext *signature.PolicyContext, options *LoadOptions) *loader {
	l := &loader{policy: policyContext, done: &Loaded{}}
	if options != nil {
		l.options = *options
	}
	if l.options.Progress == nil {
		l.options.Progress = func(Event) {}
	}
	return l
}

// whole returns images of which all is taken that the source has.
func whole(images []SaveImage) []SaveImage {
	images = slices.Clone(images)
	for n := range images {
		images[n].Whole = true
	}
	return images
}

// prepare finds out what there is on both sides.
func (l *loader) prepare(ctx context.Context, images []SaveImage) (err error) {
	if l.kind, err = l.daemon.Kind(ctx); err != nil {
		return err
	}
	if len(l.options.Platforms) == 0 && !l.kind.Containerd {
		l.options.Platforms = []imgspecv1.Platform{l.kind.Platform}
	}
	if len(l.options.Platforms) > 1 && !l.kind.Containerd {
		return errors.New("the docker daemon keeps one platform of an image; choose one")
	}
	if err := l.read(ctx, images); err != nil {
		return err
	}
	if len(l.images) == 0 {
		return l.nothing()
	}
	if l.options.Full {
		return nil
	}
	present, err := l.daemon.Present(ctx, l.kind)
	if err != nil {
		return err
	}
	l.leaveOut(present)
	return nil
}

// saveOptions are those of the archive that is sent.
func (l *loader) saveOptions() *SaveOptions {
	return &SaveOptions{
		SourceCtx: l.options.SourceCtx, DestinationCtx: l.options.DestinationCtx,
		Platforms: l.options.Platforms, AnyPlatform: true,
		LeaveOut: func(layer imgspecv1.Descriptor) bool { return l.leftOut[layer.Digest] },
		Jobs:     l.options.Jobs, RetryTimes: l.options.RetryTimes, RetryDelay: l.options.RetryDelay,
	}
}

func (l *loader) sendAndCheck(ctx context.Context) error {
	if err := l.send(ctx); err != nil {
		return err
	}
	for _, img := range l.images {
		if err := l.check(ctx, img); err != nil {
			return &LoadError{Source: img.Source, Err: err}
		}
	}
	return nil
}

// errAnswered stops an archive of which the daemon or the store does not want more.
var errAnswered = errors.New("who gets it has answered")

// send streams an archive to the daemon or the content store.
func (l *loader) send(ctx context.Context) error {
	images := make([]SaveImage, len(l.images))
	for n, img := range l.images {
		images[n] = img.SaveImage
	}
	plan, err := PlanSave(ctx, l.policy, images, l.saveOptions())
	if err != nil {
		return err
	}
	l.options.Progress(Event{Kind: Planned, Blobs: len(plan.Entries), Size: plan.Size})
	r, w := io.Pipe()
	saved := make(chan error, 1)
	go func() {
		_, err := SaveTo(ctx, l.policy, &sentWriter{w: w, loader: l}, images, l.saveOptions())
		w.CloseWithError(err)
		saved <- err
	}()
	if l.store != nil {
		err = l.store.Receive(ctx, r)
	} else {
		err = l.daemon.Load(ctx, r)
	}
	r.CloseWithError(errAnswered)
	saveErr := <-saved
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case saveErr != nil && !errors.Is(saveErr, errAnswered):
		return saveErr
	}
	return err // If there is none, and it has not got all, that will be seen.
}

// sentWriter says how much was written.
type sentWriter struct {
	w      io.Writer
	loader *loader
}

// Write implements io.Writer.
func (w *sentWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.loader.done.Sent += int64(n)
	w.loader.options.Progress(Event{Kind: Read, Bytes: n})
	return n, err
}

// check fails if the daemon has not got an image under its names.
func (l *loader) check(ctx context.Context, img *loadedImage) error {
	ids := img.ids(l.kind)
	var asked []string
	for _, name := range img.tags() {
		asked = append(asked, name.String())
	}
	if len(asked) == 0 {
		asked = []string{ids[0].String()}
	}
	for _, name := range asked {
		told, err := l.daemon.Inspect(ctx, name, nil)
		var refused *daemon.RefusedError
		switch {
		case errors.As(err, &refused) && refused.Status == http.StatusNotFound:
			return fmt.Errorf("%w: %w", ErrNotLoaded, err)
		case err != nil:
			return err
		case !slices.Contains(ids, told.ID):
			return fmt.Errorf("%w: %s is %s there, and not %s", ErrNotLoaded, name, told.ID, ids[0])
		}
		if err := img.complete(l.kind, told); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrNotLoaded, name, err)
		}
		result := &l.done.Images[img.place]
		if result.ID == "" && img.lacksBlobs(told) {
			result.Warnings = append(result.Warnings, "the daemon has its layers unpacked, but not all of them as they are in the archive, which docker push and docker save need; if they are to be used, send everything")
		}
		result.ID = told.ID
	}
	return nil
}
