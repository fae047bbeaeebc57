// Package loading puts a Selection where images are run: into a Docker daemon, a content
// store as containerd's, or the storage of podman and CRI-O. What is there is not sent.
package loading

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/daemon"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/saving"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
	"github.com/dockerarchive/dockerarchive/progress"
)

// Options are how images are loaded. What its fields mean say those of package copying.
type Options struct {
	Select         selecting.Options
	DestinationCtx *types.SystemContext
	Host, Context  string
	Full           bool
	NoUnpack       bool
}

// Done is what has been done.
type Done struct {
	Images        []Result
	Sent, LeftOut int64
}

// Result is what became of an image. What its fields mean says copying.LoadedImage.
type Result struct {
	Image    selecting.Wanted
	ID       digest.Digest
	Skipped  string
	Warnings []string
}

// ErrNotLoaded is the error if a daemon took everything without a word, and has not got it.
var ErrNotLoaded = errors.New("the docker daemon has not got what it was sent")

// Daemon puts images into a Docker daemon.
func Daemon(ctx context.Context, images []selecting.Wanted, o Options) (*Done, error) {
	l := newLoader(o)
	defer l.close()
	config := sources.DaemonConfig(o.DestinationCtx)
	config.Host = o.Host
	config, err := daemon.Find(daemon.Chosen{Config: config, Context: o.Context})
	if err != nil {
		return nil, err
	}
	if l.daemon, err = daemon.Open(config); err != nil {
		return nil, err
	}
	defer l.daemon.Close()
	if err := l.prepare(ctx, whole(images)); err != nil {
		return l.done, err
	}
	err = l.sendAndCheck(ctx)
	var refused *daemon.RefusedError
	if len(l.leftOut) > 0 && (errors.As(err, &refused) || errors.Is(err, ErrNotLoaded)) {
		l.options.Select.Progress(progress.Event{Kind: progress.Retried, Err: err})
		l.leftOut, l.done.LeftOut = nil, 0
		err = l.sendAndCheck(ctx)
	}
	return l.done, err
}

// loader is one call of Daemon, Content or Into.
type loader struct {
	options Options
	from    *selecting.Selection // all images that were given; nil before they are read
	daemon  *daemon.Daemon       // nil if store is not
	store   Store
	kind    daemon.Kind
	images  []*loadedImage         // those that are sent
	leftOut map[digest.Digest]bool // layers
	done    *Done
}

func newLoader(o Options) *loader {
	l := &loader{options: o, done: &Done{}}
	if l.options.Select.Progress == nil {
		l.options.Select.Progress = func(progress.Event) {}
	}
	return l
}

func (l *loader) close() {
	if l.from != nil {
		l.from.Close()
	}
}

// whole returns images of which all is taken that the source has.
func whole(images []selecting.Wanted) []selecting.Wanted {
	images = slices.Clone(images)
	for n := range images {
		images[n].Whole = true
	}
	return images
}

// prepare finds out what there is on both sides.
func (l *loader) prepare(ctx context.Context, images []selecting.Wanted) (err error) {
	if l.kind, err = l.daemon.Kind(ctx); err != nil {
		return err
	}
	if len(l.options.Select.Platforms) == 0 && !l.kind.Containerd {
		l.options.Select.Platforms = []imgspecv1.Platform{l.kind.Platform}
	}
	if len(l.options.Select.Platforms) > 1 && !l.kind.Containerd {
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

func (l *loader) sendAndCheck(ctx context.Context) error {
	if err := l.send(ctx); err != nil {
		return err
	}
	for _, img := range l.images {
		if err := l.check(ctx, img); err != nil {
			return l.from.ErrorOf(img.Image, err)
		}
	}
	return nil
}

// errAnswered stops an archive of which the daemon or the store does not want more.
var errAnswered = errors.New("who gets it has answered")

// send streams an archive to the daemon or the content store.
func (l *loader) send(ctx context.Context) error {
	less := l.selected()
	plan, err := saving.PlanOf(ctx, less)
	if err != nil {
		return err
	}
	l.options.Select.Progress(progress.Event{Kind: progress.Planned, Blobs: len(plan.Entries), Size: plan.Size})
	r, w := io.Pipe()
	saved := make(chan error, 1)
	go func() {
		err := saving.Stream(ctx, &sentWriter{w: w, loader: l}, less, l.tempDir())
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

// selected returns what is sent: the images that can be run, without layers that are there.
func (l *loader) selected() *selecting.Selection {
	images := make([]*selecting.Image, len(l.images))
	for n, img := range l.images {
		images[n] = img.Image
	}
	return l.from.Less(images, func(layer imgspecv1.Descriptor) bool { return l.leftOut[layer.Digest] })
}

func (l *loader) tempDir() string {
	if l.options.DestinationCtx == nil {
		return ""
	}
	return l.options.DestinationCtx.BigFilesTemporaryDir
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
	w.loader.options.Select.Progress(progress.Event{Kind: progress.Read, Bytes: n})
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
