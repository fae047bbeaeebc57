// Package imagecopy copies one image with copy.Image of containers/image, and speeds that
// up for archives of this module: it says in advance which layers will come, reads local
// sources concurrently and large blobs of registries in ranges.
package imagecopy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/internal/stall"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
	"github.com/dockerarchive/dockerarchive/progress"
)

// Job is an image to copy, and how.
type Job struct {
	Policy       *signature.PolicyContext
	Dest, Source types.ImageReference
	Options      *copy.Options // those of containers/image; nil will do
	// NoSync is for an archive that dockerarchive.WriterOptions.NoSync says.
	NoSync bool
	// Progress, if not nil, is called concurrently.
	Progress func(progress.Event)
}

// Copy copies an image, and returns its manifest.
func Copy(ctx context.Context, job Job) ([]byte, error) {
	var read atomic.Bool // something has been
	told := job.Progress
	job.Progress = func(e progress.Event) {
		if e.Kind == progress.Finished && e.Err == nil {
			read.Store(true)
		}
		if told != nil {
			told(e)
		}
	}
	ctx = fetching.Remembering(ctx) // For further attempts.
	m, err := Once(ctx, job, AsSave)
	if err != nil && sources.IsRejected(err) && read.Load() && !retry.IsFinal(err) {
		m, err = Once(ctx, job, AsSave) // With a new token, which the registry may take.
	}
	if errors.Is(err, ErrWrongRanges) {
		return Once(ctx, job, nil)
	}
	return m, err
}

// ErrWrongRanges is in the error of a copy that failed, and may succeed without ranges.
var ErrWrongRanges = errors.New("read in ranges")

// Once copies an image whose large blobs, if a registry has them, come in ranges. They are
// read whole if ranges is nil.
func Once(ctx context.Context, job Job, ranges *Ranges) ([]byte, error) {
	c := &copier{policy: job.Policy, dest: job.Dest, source: job.Source, noSync: job.NoSync, progress: job.Progress, ranges: ranges}
	if c.progress == nil {
		c.progress = func(progress.Event) {}
	}
	return c.copyWatched(ctx, job.Options)
}

// copyWatched copies, and fails when a registry brings nothing.
func (c *copier) copyWatched(ctx context.Context, options *copy.Options) (m []byte, err error) {
	if options == nil {
		options = &copy.Options{}
	}
	if sources.IsRegistry(c.source) || sources.IsRegistry(c.dest) {
		err = stall.Ask(ctx, c.waiting, func(ctx context.Context, w *stall.Watch) error {
			w.Patient() // A registry may have to store something, or a disk here be slow.
			c.watch = w
			m, err = c.copy(ctx, options)
			return err
		})
	} else {
		m, err = c.copy(ctx, options)
	}
	if err != nil && c.final {
		return nil, retry.Final(err) // Another attempt would write behind the bytes that have been sent.
	}
	return m, err
}

func (c *copier) copy(ctx context.Context, options *copy.Options) ([]byte, error) {
	destRef, srcRef := c.dest, c.source
	unpacks := destRef.Transport().Name() == dockerarchive.Transport.Name()
	if options.PreserveDigests && unpacks {
		return nil, fmt.Errorf("digests cannot be preserved: an archive of this kind has no manifest and layers uncompressed; write an %s", dockerarchive.ImageTransport.Name())
	}
	src, err := srcRef.NewImageSource(ctx, sources.Opening(options.SourceCtx, srcRef, options.ImageListSelection != copy.CopySystemImage))
	if err != nil {
		return nil, err
	}
	archiveSource := src
	src = sources.Truthful(ctx, src)
	src = sources.Concurrently(src)
	opened := &openedReference{ImageReference: srcRef, source: src}
	defer opened.close() // It has only been read from.
	if err := checkIndex(ctx, src, options); err != nil {
		return nil, err
	}
	if sources.IsRegistry(destRef) {
		own := *options
		own.DestinationCtx = registries.LoggedIn(options.DestinationCtx, destRef.DockerReference())
		options = &own
		var done func()
		if destRef, done, err = contained(ctx, destRef, srcRef, options); err != nil {
			return nil, err
		}
		defer done()
	}
	if !dockerarchive.IsArchive(destRef) {
		return c.image(ctx, destRef, opened, options)
	}
	plan, err := planCopy(ctx, options, unpacks, src)
	if err != nil {
		return nil, err
	}
	plan.TakeFrom(archiveSource)
	client := registries.New(options.SourceCtx)
	defer client.Close()
	c.ranged = c.ranges.of(ctx, src, client, plan.instances, int(options.MaxParallelDownloads), c.waiting, c.meanwhile)
	if c.ranged != nil {
		opened.source = c.ranged
	}
	if plan.elsewhere {
		// Only then, for that hides sigstore signatures from copy.Image.
		opened.source = sources.Near{ImageSource: opened.source}
	}
	c.rest() // Another process may have to open the other end of a pipe.
	w, inWriter, err := dockerarchive.NewWriterForReference(ctx, options.DestinationCtx, destRef, writerOptions(c.noSync, plan, src))
	if err != nil {
		return nil, err
	}
	c.final = !w.Undoable()
	m, err := copy.Image(ctx, c.policy, &reportedReference{inWriter, c}, opened, options)
	if err != nil {
		err = errors.Join(err, w.Abort())
	} else {
		err = w.CloseContext(ctx)
	}
	switch {
	case err == nil:
		return m, nil
	case c.ranged.mayBeToBlame(err) && !c.final:
		return nil, fmt.Errorf("%w: %w", ErrWrongRanges, err)
	default:
		return nil, err
	}
}

func writerOptions(noSync bool, plan copyPlan, src types.ImageSource) *dockerarchive.WriterOptions {
	return &dockerarchive.WriterOptions{Plan: []dockerarchive.Plan{plan.Plan}, ReadEnd: plan.readEnd(src), NoSync: noSync}
}

// copyPlan describes an image before it is copied.
type copyPlan struct {
	dockerarchive.Plan
	elsewhere bool // some layers have URLs
	layers    map[digest.Digest]imgspecv1.Descriptor
	instances []*digest.Digest // whose signatures copy.Image asks for; nil is the image itself
}

// planCopy returns the blobs that copy.Image will copy, and the layers that stay
// elsewhere. It fails if layers cannot stay elsewhere because the archive has them
// unpacked.
func planCopy(ctx context.Context, options *copy.Options, unpacks bool, src types.ImageSource) (copyPlan, error) {
	var plan copyPlan
	m, mimeType, err := src.GetManifest(ctx, nil)
	if err != nil {
		return plan, err
	}
	if !manifest.MIMETypeIsMultiImage(mimeType) {
		return plan, planInstance(ctx, &plan, unpacks, src, m, mimeType, nil)
	}
	list, err := manifest.ListFromBlob(m, mimeType)
	if err != nil {
		return plan, err
	}
	instances := list.Instances()
	switch options.ImageListSelection {
	case copy.CopySystemImage:
		index, err := selecting.ParseIndex(m)
		if err != nil {
			return plan, err
		}
		chosen, err := selecting.ChooseInstance(list, index, options.SourceCtx)
		if err != nil {
			return plan, err
		}
		instances = []digest.Digest{chosen}
	case copy.CopySpecificImages:
		instances = slices.DeleteFunc(instances, func(d digest.Digest) bool { return !slices.Contains(options.Instances, d) })
	}
	for _, instance := range instances {
		m, mimeType, err := src.GetManifest(ctx, &instance)
		if err != nil {
			return plan, err
		}
		if err := planInstance(ctx, &plan, unpacks, src, m, mimeType, &instance); err != nil {
			return plan, err
		}
	}
	if options.ImageListSelection != copy.CopySystemImage {
		plan.instances = append(plan.instances, nil)
		return plan, plan.AddManifest(m)
	}
	return plan, nil
}

func planInstance(ctx context.Context, plan *copyPlan, unpacks bool, src types.ImageSource, m []byte, mimeType string, instance *digest.Digest) error {
	plan.instances = append(plan.instances, instance)
	infos, err := src.LayerInfosForCopy(ctx, instance)
	if err != nil {
		return err
	}
	if infos != nil { // The manifest will be another one.
		plan.AddLayers(infos)
		return nil
	}
	switch mimeType {
	case manifest.DockerV2Schema1MediaType, manifest.DockerV2Schema1SignedMediaType:
		parsed, err := manifest.FromBlob(m, mimeType) // To be converted.
		if err != nil {
			return err
		}
		for _, layer := range parsed.LayerInfos() {
			if !layer.EmptyLayer { // The converted manifest has no empty layers.
				plan.AddLayers([]types.BlobInfo{layer.BlobInfo})
			}
		}
		return nil
	}
	document, err := image.ParseDocument(m, mimeType)
	if err != nil {
		return err
	}
	once := func(f func(context.Context) error) error { return f(ctx) }
	absent, reason, err := sources.Absent(ctx, src, document.Layers, once)
	if err == nil && unpacks {
		err = reason
	}
	if err != nil {
		return err
	}
	plan.note(document.Layers)
	plan.elsewhere = plan.elsewhere || sources.HasURLs(document.Layers)
	for d := range absent {
		plan.LeaveOut(d)
	}
	return plan.AddManifest(m)
}

// openedReference is a reference whose source has been opened already.
type openedReference struct {
	types.ImageReference
	source types.ImageSource
}

// NewImageSource returns the source, once.
func (r *openedReference) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	if r.source == nil {
		return r.ImageReference.NewImageSource(ctx, sys)
	}
	src := r.source
	r.source = nil
	return src, nil
}

func (r *openedReference) close() {
	if r.source != nil {
		r.source.Close()
	}
}

// checkIndex refuses an index that lacks the platform, as copy.Image reports that
// without the platforms that are there, and one that lists an invalid digest, which
// copy.Image prints as it is.
func checkIndex(ctx context.Context, src types.ImageSource, options *copy.Options) error {
	if options.ImageListSelection == copy.CopySystemImage {
		_, err := selecting.ChoosePlatform(ctx, options.SourceCtx, src)
		return err
	}
	raw, mimeType, err := src.GetManifest(ctx, nil)
	if err != nil || !manifest.MIMETypeIsMultiImage(mimeType) {
		return err
	}
	_, index, err := selecting.ParseList(raw, mimeType)
	if err != nil {
		return err
	}
	for _, listed := range index.Descriptors() {
		if err := listed.Digest.Validate(); err != nil {
			return fmt.Errorf("its index lists %q: %w", listed.Digest, err)
		}
	}
	return nil
}
