package loading

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/daemon"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/saving"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/podman/internal/layouts"
	"github.com/dockerarchive/dockerarchive/progress"
)

// Options are how images are loaded. Package copying documents the fields.
type Options struct {
	Select         selecting.Options
	DestinationCtx *types.SystemContext
	Host, Context  string
	Full           bool
	NoUnpack       bool
}

// Done is the result of loading.
type Done struct {
	Images        []Result
	Sent, LeftOut int64
}

// Result is the result for an image. See copying.LoadedImage for the fields.
type Result struct {
	Image    selecting.Wanted
	ID       digest.Digest
	Skipped  string
	Warnings []string
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

// whole returns images, each with everything that its source has.
func whole(images []selecting.Wanted) []selecting.Wanted {
	images = slices.Clone(images)
	for n := range images {
		images[n].Whole = true
	}
	return images
}

// errAnswered stops an archive when the daemon or the store wants no more of it.
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

// selected returns the images to send: those that can be run, without layers that are
// there.
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

// read opens all sources, and reads all manifests and configs, once: the images that are
// sent are those that were checked.
func (l *loader) read(ctx context.Context, images []selecting.Wanted) (err error) {
	selects := l.options.Select
	selects.Op, selects.AnyPlatform = "loading", true
	if selects.Layout, err = layouts.Of(nil, l.options.DestinationCtx); err != nil {
		return err
	}
	selects.Progress = nil // Only progress of sending is reported.
	if l.from, err = selecting.New(images, selects); err != nil {
		return fmt.Errorf("loading images: %w", err)
	}
	if err := l.from.Read(ctx); err != nil {
		return err
	}
	for place, img := range l.from.Images {
		if err := l.readConfigs(ctx, place, img); err != nil {
			return err
		}
	}
	return nil
}

// readConfigs finds out which platforms of an image can be run.
func (l *loader) readConfigs(ctx context.Context, place int, img *selecting.Image) error {
	if err := l.from.FetchConfigs(ctx, img); err != nil {
		return err
	}
	content := l.from.ContentOf(img)
	reason := l.from.Layout.LeftOut(content)
	l.done.Images = append(l.done.Images, Result{Image: img.Wanted, Skipped: reason, Warnings: img.Warnings})
	if reason != "" {
		return nil
	}
	loaded := &loadedImage{Image: img, place: place}
	for _, document := range img.Documents {
		if document.IsIndex() {
			continue
		}
		m := &loadedManifest{digest: document.Descriptor.Digest, config: document.Config.Digest, layers: document.Layers}
		config, err := image.ParseConfig(m.config.String(), content.Configs[m.config])
		if err == nil && config.HasRootFS && len(config.DiffIDs) == len(m.layers) && config.Platform.OS != image.UnknownPlatform {
			m.diffIDs, m.platform, m.runs = config.DiffIDs, config.Platform, true
		}
		loaded.manifests = append(loaded.manifests, m)
	}
	l.images = append(l.images, loaded)
	return nil
}

// Store keeps blobs by their digests, and names for them, as containerd does. Package
// loading/containerd has the one of containerd.
type Store interface {
	// Has reports whether there is a blob. A blob that is there must stay as long as the
	// store is open.
	Has(ctx context.Context, d digest.Digest) (bool, error)
	// Receive takes the blobs of an OCI image layout in a tar archive, which lacks layers.
	Receive(ctx context.Context, archive io.Reader) error
	// Refer records which blobs a document needs. Some may not be there.
	Refer(ctx context.Context, document digest.Digest, to []digest.Digest) error
	// Name makes a name stand for a manifest or an index.
	Name(ctx context.Context, name string, target imgspecv1.Descriptor) error
	// Unpack makes an image ready to be run.
	Unpack(ctx context.Context, config digest.Digest, layers []imgspecv1.Descriptor, diffIDs []digest.Digest) error
}

// nothing returns the error for images when none of them can be run.
func (l *loader) nothing() error {
	first := l.done.Images[0]
	return l.from.ErrorOf(l.from.Images[0], fmt.Errorf("there is nothing to load: %s", first.Skipped))
}
