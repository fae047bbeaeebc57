package dockerarchive

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/manifest"
	ocilayout "github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
)

// Copy copies an image with copy.Image of containers/image, and makes the most
// of what this package can do: an archive is told in advance which layers will
// come, so that each is written where it stays even if several are copied at the
// same time; and local sources, which copy.Image reads one blob after the other,
// are read concurrently too.
//
// It returns the manifest of the image, and the errors of copy.Image and
// NewWriter, and a NoPlatformError if there is no image for the platform that
// options.SourceCtx asks for. If it fails, an archive that was to be made is not there.
func Copy(ctx context.Context, policyContext *signature.PolicyContext, destRef, srcRef types.ImageReference, options *copy.Options) ([]byte, error) {
	if options == nil {
		options = &copy.Options{}
	}
	src, err := srcRef.NewImageSource(ctx, options.SourceCtx)
	if err != nil {
		return nil, err
	}
	opened := &openedReference{ImageReference: srcRef, source: concurrently(src)}
	defer opened.close() // It has only been read from.
	archive, ok := destRef.(archiveReference)
	if !ok || archive.writer != nil {
		return copy.Image(ctx, policyContext, destRef, opened, options)
	}
	plan, err := planCopy(ctx, options, src)
	if err != nil {
		return nil, err
	}
	w, inWriter, err := NewWriterForReference(options.DestinationCtx, archive, withPlan(plan))
	if err != nil {
		return nil, err
	}
	m, err := copy.Image(ctx, policyContext, inWriter, opened, options)
	if err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return m, w.close(ctx)
}

// planCopy returns the blobs that copy.Image will copy. They are only used to put
// the blobs where they belong: nothing depends on them being right.
func planCopy(ctx context.Context, options *copy.Options, src types.ImageSource) ([]plannedBlob, error) {
	m, mimeType, err := src.GetManifest(ctx, nil)
	if err != nil {
		return nil, err
	}
	if !manifest.MIMETypeIsMultiImage(mimeType) {
		return planInstance(ctx, src, m, mimeType, nil)
	}
	list, err := manifest.ListFromBlob(m, mimeType)
	if err != nil {
		return nil, err
	}
	instances := list.Instances()
	switch options.ImageListSelection {
	case copy.CopySystemImage:
		index, err := parseIndex(m)
		if err != nil {
			return nil, err
		}
		chosen, err := chooseInstance(list, index, options.SourceCtx)
		if err != nil {
			return nil, err
		}
		instances = []digest.Digest{chosen}
	case copy.CopySpecificImages:
		instances = slices.DeleteFunc(instances, func(d digest.Digest) bool { return !slices.Contains(options.Instances, d) })
	}
	var blobs []plannedBlob
	for _, instance := range instances {
		m, mimeType, err := src.GetManifest(ctx, &instance)
		if err != nil {
			return nil, err
		}
		more, err := planInstance(ctx, src, m, mimeType, &instance)
		if err != nil {
			return nil, err
		}
		blobs = append(blobs, more...)
	}
	if options.ImageListSelection != copy.CopySystemImage {
		blobs = append(blobs, planDocument(m))
	}
	return blobs, nil
}

func planInstance(ctx context.Context, src types.ImageSource, m []byte, mimeType string, instance *digest.Digest) ([]plannedBlob, error) {
	infos, err := src.LayerInfosForCopy(ctx, instance)
	if err != nil {
		return nil, err
	}
	if infos == nil {
		return planManifest(m, mimeType)
	}
	var blobs []plannedBlob // The manifest will be another one.
	for _, info := range infos {
		blobs = append(blobs, plannedBlob{info.Digest, info.Size, true, info.MediaType})
	}
	return blobs, nil
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

// concurrentSource is a source whose GetBlob is safe for concurrent use although
// it does not say so.
type concurrentSource struct{ types.ImageSource }

// HasThreadSafeGetBlob is true.
func (concurrentSource) HasThreadSafeGetBlob() bool { return true }

// concurrently returns src so that its blobs are read concurrently if it is known
// to open a file for each.
func concurrently(src types.ImageSource) types.ImageSource {
	ref := src.Reference()
	switch ref.Transport().Name() {
	case ocilayout.Transport.Name():
		return concurrentSource{src}
	case directory.Transport.Name():
		// Wrapping hides sigstore signatures, which a policy may ask for, from
		// copy.Image.
		_, err := os.Stat(filepath.Join(ref.StringWithinTransport(), "signature-1"))
		if errors.Is(err, fs.ErrNotExist) {
			return concurrentSource{src}
		}
	}
	return src
}
