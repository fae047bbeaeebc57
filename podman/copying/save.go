package copying

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/saving"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
)

// SaveOptions are the options of Save, SaveTo and PlanSave. The zero value will do.
type SaveOptions struct {
	Reading
	Selection

	// KeepGoing leaves out images that cannot be saved. To a stream, parts of
	// them may have been written already.
	KeepGoing bool
	// Without, if not nil, leaves out the layers that other archives have. The table of
	// contents says which archive has each. The archive is complete only with those:
	// Add its images to one of them, or load them where the layers are. The archive must
	// be a new image-archive.
	Without *Without

	// Delta, if not nil, makes deltas of the layers that are saved from those of the bases,
	// where these are clearly smaller, in the place of the layers. Only with the bases is the
	// archive complete. Without must name the layers of the bases; it may name more. Each
	// delta has been applied, and has led to the layer. Layers wait in temporary files.
	Delta *archive.Bases
	// TextOnly allows no delta that needs layers of the bases as they are compressed there.
	TextOnly bool

	// Transport says which kind of archive to write: dockerarchive.Transport or, as
	// nil does, dockerarchive.ImageTransport.
	Transport types.ImageTransport
	// DestinationCtx is for writing the archive.
	DestinationCtx *types.SystemContext
	// SkipDockerManifest leaves manifest.json out, as
	// dockerarchive.WriterOptions.SkipDockerManifest does.
	SkipDockerManifest bool
	// Compression is none, gzip or zstd. If it is empty, the archive is compressed as
	// its path says: .tar.gz and .tgz, .tar.zst and .tzst, anything else is not.
	Compression string
	// Split, if not 0, is the size in bytes of the parts that the archive is written in,
	// as dockerarchive.WriterOptions.Split is.
	Split int64
	// NoSync leaves it to the system when the archive gets to the disk, as
	// dockerarchive.WriterOptions.NoSync does.
	NoSync bool
	// Resume has Save write to a file of the archive's name and ".partial", which stays if
	// Save fails or the process is killed, and go on with one that is there. Blobs in it are
	// verified as any other, and not fetched again; incomplete ones are fetched from where
	// they end. The archive has the same bytes as without. Other processes that write to
	// that file get errdef.ErrBusy. It is for regular files that are not compressed, and for
	// systems with file locks; Read events tell of bytes that are there as well. Where
	// layers are decompressed, incomplete ones are fetched again as a whole.
	Resume bool
	// ArchiveDigest, if not nil, becomes the SHA-256 of the archive as it is written,
	// compressed or not. A file that is not compressed is read again for it.
	ArchiveDigest *digest.Digest
}

func (o *SaveOptions) saving(ctx context.Context, policy *signature.PolicyContext) saving.Options {
	selects := o.choose(o.Reading.options(ctx, policy))
	selects.KeepGoing = o.KeepGoing
	if o.Without != nil {
		selects.Without = &o.Without.layers
	}
	return saving.Options{
		Delta: o.Delta, TextOnly: o.TextOnly,
		Select: selects, Transport: o.Transport, DestinationCtx: o.DestinationCtx,
		SkipDockerManifest: o.SkipDockerManifest, NoSync: o.NoSync, Resume: o.Resume,
		Compression: o.Compression, Split: o.Split, ArchiveDigest: o.ArchiveDigest,
	}
}

// SaveResult is the result for an image.
type SaveResult struct {
	SaveImage
	// Digest is that of the manifest or index in the archive; in the layout that keeps
	// neither, the one that the other layout would have had.
	Digest digest.Digest
	// Size is how many bytes its layers and configs have at the source, each counted
	// once; -1 if that is not known.
	Size int64
	// Platforms are those of its configs, as os/architecture[/variant], in their order.
	Platforms []string
	// LeftOut are the layers that other archives have and this one has not, because of
	// SaveOptions.Without, or has a delta of, because of SaveOptions.Delta.
	LeftOut []errdef.LeftOut
	// Warnings are other facts about the image: that it is not in manifest.json, that
	// another platform was taken, what was corrected.
	Warnings []string
	// Subject is the digest that a referrer is about; empty for an image that was asked
	// for.
	Subject digest.Digest
	// Err says why the image is not in the archive. It is an *errdef.ImageError.
	Err error
}

// resultsOf returns the results of saving.
func resultsOf(done []saving.Result) []SaveResult {
	if done == nil {
		return nil
	}
	results := make([]SaveResult, len(done))
	for n, r := range done {
		results[n] = SaveResult{
			SaveImage: SaveImage(r.Image), Digest: r.Digest, Size: r.Size, Platforms: r.Platforms, LeftOut: r.LeftOut,
			Warnings: r.Warnings, Subject: r.Subject, Err: r.Err,
		}
	}
	return results
}

// ErrImagesLeftOut is the error of Save if it kept going, and the archive is
// complete but for images whose results say why.
var ErrImagesLeftOut = selecting.ErrLeftOut

// Save writes images, from any sources, to a new archive at path; see
// dockerarchive.NewWriterContext for the paths. Every manifest is read, and accepted by
// the policy, before the first blob is; then every distinct blob is read once, and
// verified as it is read. A nil policy is that of the system. The bytes of the archive
// depend on the images, their names and their order only.
//
// An image that is given several times is in the archive once, with all its names. Two
// images of one name are an error, for different platforms too: images become an index
// only if one is given that lists them.
//
// It returns a result for each image, in their order, and for each of the Referrers, in
// the order of the archive. An error means that there is no archive, unless it is
// ErrImagesLeftOut and there are images left. If manifests cannot be read, it is an
// *ImageError for one image, an *ImagesError for several.
func Save(ctx context.Context, policy *signature.PolicyContext, path string, images []SaveImage, options *SaveOptions) ([]SaveResult, error) {
	o := orZero(options)
	return under(policy, o.SourceCtx, func(policy *signature.PolicyContext) ([]SaveResult, error) {
		results, err := saving.Save(ctx, path, wanted(images), o.saving(ctx, policy))
		return resultsOf(results), err
	})
}

// SaveTo is Save to a writer. It writes the archive from start to end, as to a pipe. If
// it fails, w has an archive without its end.
func SaveTo(ctx context.Context, policy *signature.PolicyContext, w io.Writer, images []SaveImage, options *SaveOptions) ([]SaveResult, error) {
	o := orZero(options)
	return under(policy, o.SourceCtx, func(policy *signature.PolicyContext) ([]SaveResult, error) {
		results, err := saving.To(ctx, w, wanted(images), o.saving(ctx, policy))
		return resultsOf(results), err
	})
}

// SavePlan describes the archive that Save would write.
type SavePlan struct {
	// Images are the results that Save would return.
	Images []SaveResult
	// Entries are those of the archive, in its order.
	Entries []PlannedEntry
	// Size is that of the archive in bytes, -1 if it is not known, as with layers that
	// have to be decompressed first.
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

// PlanSave returns the plan of the archive that Save would write. It reads manifests
// and configs, and no layers. Its errors are those of Save.
func PlanSave(ctx context.Context, policy *signature.PolicyContext, images []SaveImage, options *SaveOptions) (*SavePlan, error) {
	o := orZero(options)
	return under(policy, o.SourceCtx, func(policy *signature.PolicyContext) (*SavePlan, error) {
		planned, err := saving.Plan(ctx, wanted(images), o.saving(ctx, policy))
		if planned == nil {
			return nil, err
		}
		plan := &SavePlan{Images: resultsOf(planned.Images), Size: planned.Size, Fetch: planned.Fetch}
		for _, e := range planned.Entries {
			plan.Entries = append(plan.Entries, PlannedEntry(e))
		}
		return plan, err
	})
}
