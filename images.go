package dockerarchive

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/imageinfo"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/verify"
)

// ImageInfo is what can be said of an image in an archive without reading its
// layers.
type ImageInfo struct {
	// References are those that List returns for the image.
	References []types.ImageReference `json:"-"`
	// Position is the place of the image in the archive, from zero: the N of
	// ARCHIVE:@N.
	Position int `json:"position"`
	// Names are as they are in the archive; some need not be valid references.
	Names []string `json:"names"`
	// Subjects are the digests of what this is about, as a signature or an SBOM is, if it
	// is no image of its own: one for each of the Names, or just one. Such a referrer
	// does not count where an archive's only image is meant.
	Subjects []digest.Digest `json:"subjects,omitempty"`
	// Error says why the image cannot be read, as far as that is known without reading
	// its layers; empty if nothing is known to be wrong.
	Error string `json:"error,omitempty"`
	ManifestInfo
}

// ManifestInfo describes a manifest or an index.
type ManifestInfo = imageinfo.Manifest

// IsReferrer reports whether this is no image but about one, or about another referrer.
func (i *ImageInfo) IsReferrer() bool { return len(i.Subjects) > 0 }

// describedAtOnce is how many images are described side by side: an archive elsewhere is asked for each.
const describedAtOnce = 8

// Images describes all images in the order of the archive. In archives of Docker before
// 1.10, which have no configs, it reads the layers. A broken image is described as far
// as it can be read, so that the others can be had.
func (r *Reader) Images(ctx context.Context) ([]ImageInfo, error) {
	images := r.catalog.Images()
	infos := make([]ImageInfo, len(images))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(describedAtOnce)
	for n, img := range images {
		group.Go(func() (err error) {
			infos[n], err = r.describe(ctx, img)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return infos, nil
}

// describe describes an image. It fails only if ctx has ended.
func (r *Reader) describe(ctx context.Context, img *catalog.Image) (ImageInfo, error) {
	d, err := r.catalog.Describe(ctx, img)
	if ctx.Err() != nil {
		return ImageInfo{}, fmt.Errorf("%s: %s: image @%d: %w", r.transport.name, r.path, img.Position, err)
	}
	info := ImageInfo{Position: img.Position, Names: slices.Concat([]string{}, img.Names), Subjects: img.Subjects(), ManifestInfo: d}
	if fault := cmp.Or(err, d.Fault); fault != nil {
		info.Error = fault.Error()
	}
	for _, ref := range r.references(img) {
		info.References = append(info.References, ref)
	}
	return info, nil
}

// Verify tests everything that the archive says of itself: every blob against
// its name, its digest and its diff ID, every size and media type in a descriptor,
// every link, every name and every reference. The error says why it could not be tested.
// progress, if not nil, is called, perhaps concurrently, with how many more of the Size
// bytes have been read.
func (r *Reader) Verify(ctx context.Context, progress func(bytes int)) (*archive.Report, error) {
	findings, err := r.catalog.Claims(ctx)
	if err != nil {
		return nil, err
	}
	parts, err := r.file.CheckParts(ctx)
	var mismatches []error
	if err == nil {
		mismatches, err = verify.Claims(ctx, findings.Claims, progress)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: verifying %s: %w", r.transport.name, r.path, err)
	}
	mismatches = append(mismatches, verify.Deltas(findings.Deltas)...)
	return &archive.Report{Problems: slices.Concat(parts, findings.Problems, mismatches), Notes: findings.Notes, LeftOut: findings.LeftOut}, nil
}

// Size returns how many bytes the archive has when it is not compressed.
func (r *Reader) Size() int64 { return r.file.Size() }
