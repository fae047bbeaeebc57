package copying

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Copy copies an image with copy.Image of containers/image, and makes the most
// of what this module can do: an archive is told in advance which layers will
// come, so that each is written where it stays even if several are copied at the
// same time; and local sources, which copy.Image reads one blob after the other,
// are read concurrently too.
//
// It returns the manifest of the image, and the errors of copy.Image and
// dockerarchive.NewWriterContext, and an *errdef.NoPlatformError if there is no
// image for the platform that options.SourceCtx asks for. If it fails, an archive
// that was to be made is not there.
func Copy(ctx context.Context, policyContext *signature.PolicyContext, destRef, srcRef types.ImageReference, options *copy.Options) ([]byte, error) {
	return CopyWith(ctx, policyContext, destRef, srcRef, options, nil)
}

// CopyWith is Copy that writes an archive as the Compression and NoSync of how say. If the
// destination is no archive, or how is nil, it is Copy.
func CopyWith(ctx context.Context, policyContext *signature.PolicyContext, destRef, srcRef types.ImageReference, options *copy.Options, how *dockerarchive.WriterOptions) ([]byte, error) {
	m, err := copyOnce(ctx, policyContext, destRef, srcRef, options, how, asSave)
	if errors.Is(err, errWrongRanges) {
		m, err = copyOnce(ctx, policyContext, destRef, srcRef, options, how, nil)
	}
	return m, err
}

// errWrongRanges is found in the error of a copy that failed, and may not without ranges.
var errWrongRanges = errors.New("read in ranges")

// copyOnce copies an image, and reads large blobs of a registry in ranges unless that is nil.
func copyOnce(ctx context.Context, policyContext *signature.PolicyContext, destRef, srcRef types.ImageReference, options *copy.Options, how *dockerarchive.WriterOptions, ranges *ranging) ([]byte, error) {
	if options == nil {
		options = &copy.Options{}
	}
	unpacks := destRef.Transport().Name() == dockerarchive.Transport.Name()
	if options.PreserveDigests && unpacks {
		return nil, fmt.Errorf("digests cannot be preserved: an archive of this kind has no manifest and layers uncompressed; write an %s", dockerarchive.ImageTransport.Name())
	}
	src, err := srcRef.NewImageSource(ctx, openingContext(options.SourceCtx, options.ImageListSelection != copy.CopySystemImage))
	if err != nil {
		return nil, err
	}
	archiveSource := src
	src = truthful(src)
	src = concurrently(src)
	opened := &openedReference{ImageReference: srcRef, source: src}
	defer opened.close() // It has only been read from.
	if err := checkIndex(ctx, src, options); err != nil {
		return nil, err
	}
	if !dockerarchive.IsArchive(destRef) {
		return copy.Image(ctx, policyContext, destRef, opened, options)
	}
	plan, err := planCopy(ctx, options, unpacks, src)
	if err != nil {
		return nil, err
	}
	plan.TakeFrom(archiveSource)
	ranged := ranges.of(ctx, src, plan.instances, int(options.MaxParallelDownloads))
	if ranged != nil {
		opened.source = ranged
	}
	if plan.elsewhere {
		// Only then, for that hides sigstore signatures from copy.Image.
		opened.source = nearSource{opened.source}
	}
	w, inWriter, err := dockerarchive.NewWriterForReference(ctx, options.DestinationCtx, destRef, writerOptions(how, plan, src))
	if err != nil {
		return nil, err
	}
	m, err := copy.Image(ctx, policyContext, inWriter, opened, options)
	if err != nil {
		if ranged.mayBeToBlame(err) && !w.Stream() {
			err = fmt.Errorf("%w: %w", errWrongRanges, err)
		}
		return nil, errors.Join(err, w.Abort())
	}
	return m, w.CloseContext(ctx)
}

func writerOptions(how *dockerarchive.WriterOptions, plan copyPlan, src types.ImageSource) *dockerarchive.WriterOptions {
	options := &dockerarchive.WriterOptions{Plan: []dockerarchive.Plan{plan.Plan}, ReadEnd: plan.readEnd(src)}
	if how != nil {
		options.Compression, options.NoSync = how.Compression, how.NoSync
	}
	return options
}

// copyPlan is what is known of an image before it is copied.
type copyPlan struct {
	dockerarchive.Plan
	elsewhere bool // some layers have URLs
	layers    map[digest.Digest]imgspecv1.Descriptor
	instances []*digest.Digest // whose signatures copy.Image asks for; nil is the image itself
}

// planCopy returns the blobs that copy.Image will copy, and which layers stay
// elsewhere. It fails if they cannot, because the archive has them unpacked.
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
		index, err := parseIndex(m)
		if err != nil {
			return plan, err
		}
		chosen, err := chooseInstance(list, index, options.SourceCtx)
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
			if !layer.EmptyLayer { // Which what it is converted to does without.
				plan.AddLayers([]types.BlobInfo{layer.BlobInfo})
			}
		}
		return nil
	}
	document, err := image.ParseDocument(m, mimeType)
	if err != nil {
		return err
	}
	once := func(f func() error) error { return f() }
	absent, reason, err := absentLayers(ctx, src, document.Layers, once)
	if err == nil && unpacks {
		err = reason
	}
	if err != nil {
		return err
	}
	plan.note(document.Layers)
	plan.elsewhere = plan.elsewhere || hasURLs(document.Layers)
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
