package copying

import (
	"context"
	"io"

	"github.com/dockerarchive/dockerarchive/podman/copying/internal/saving"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"go.podman.io/image/v5/signature"
)

// ErrImagesLeftOut is the error of Save if it kept going, and the archive is
// complete but for images whose results say why.
var ErrImagesLeftOut = selecting.ErrLeftOut

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
	results, err := saving.Save(ctx, path, wanted(images), options.saving(policyContext))
	return saveResults(results), err
}

// SaveTo is Save to a writer, to which the archive is written from start to end,
// as to a pipe. If it fails, w has got a part of an archive, whose end is missing.
func SaveTo(ctx context.Context, policyContext *signature.PolicyContext, w io.Writer, images []SaveImage, options *SaveOptions) ([]SaveResult, error) {
	results, err := saving.To(ctx, w, wanted(images), options.saving(policyContext))
	return saveResults(results), err
}

// SavePlan says what Save would write.
type SavePlan struct {
	// Images are the results that Save would return.
	Images []SaveResult
	// Entries are those of the archive, in its order.
	Entries []PlannedEntry
	// Size is that of the archive in bytes, -1 if it is not known, as of layers
	// that have to be decompressed first.
	Size int64
	// Fetch is how many bytes the distinct layers and configs have at their
	// sources, -1 if that is not known.
	Fetch int64
}

// PlannedEntry is an entry of an archive that has not been written.
type PlannedEntry struct {
	Name   string
	Offset int64 // of its header, in bytes; -1 if it is not known
	Size   int64 // of its content, in bytes; -1 if it is not known
}

// PlanSave returns what Save would write. It reads manifests and configs, and no
// layers. The error is as that of Save.
func PlanSave(ctx context.Context, policyContext *signature.PolicyContext, images []SaveImage, options *SaveOptions) (*SavePlan, error) {
	planned, err := saving.Plan(ctx, wanted(images), options.saving(policyContext))
	if planned == nil {
		return nil, err
	}
	plan := &SavePlan{Images: saveResults(planned.Images), Size: planned.Size, Fetch: planned.Fetch}
	for _, e := range planned.Entries {
		plan.Entries = append(plan.Entries, PlannedEntry(e))
	}
	return plan, err
}
