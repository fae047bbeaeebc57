package copying

import (
	"time"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/saving"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
	"github.com/dockerarchive/dockerarchive/progress"
	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

// SaveOptions are the options of Save and PlanSave; the zero value will do.
type SaveOptions struct {
	// Transport says which kind of archive to write: dockerarchive.Transport or, as
	// nil does, dockerarchive.ImageTransport.
	Transport types.ImageTransport
	// SourceCtx is for reading the images, DestinationCtx for writing the archive.
	SourceCtx, DestinationCtx *types.SystemContext

	// Platforms chooses from images that are an index; an image that is not must be
	// for one of them, and a warning says which of them it is not for. By default that is one platform, the one that SourceCtx
	// asks for or this machine's. One platform is saved as a single image under
	// its own digest. Of several, an index is made that lists these only, with
	// the attestations that belong to them: one that lists what is not there
	// keeps the digest, but containerd does not import all of it.
	Platforms []imgspecv1.Platform
	// AnyPlatform takes an image that is not an index even if it is for none of
	// Platforms. Otherwise that is an *errdef.NoPlatformError.
	AnyPlatform bool
	// AllPlatforms saves every index as it is, with all that it lists.
	AllPlatforms bool
	// SkipMissing saves of an index what its source has, if that is anything. The index
	// is saved as it is.
	// Otherwise a *errdef.MissingError says what there is not.
	SkipMissing bool
	// KeepIndex saves the index that platforms are chosen from as it is, under its
	// own digest, which somebody may have pinned, although not all that it lists is
	// in the archive: what docker save --platform and ctr images export write.
	// ctr images import --all-platforms refuses it.
	KeepIndex bool

	// SkipDockerManifest leaves manifest.json out, as
	// dockerarchive.WriterOptions.SkipDockerManifest does.
	SkipDockerManifest bool
	// NoSync leaves it to the system when the archive gets to the disk, as
	// dockerarchive.WriterOptions.NoSync does.
	NoSync bool
	// Resume has Save write to a file of the archive's name and ".partial", which stays if
	// Save fails or the process is killed, and go on with one that is there. Blobs in it
	// are verified as any other, and not fetched again; of those that are not complete
	// the rest is fetched. The archive has the same bytes as without. Others who write to
	// that file get errdef.ErrBusy. It is for regular files that are not compressed, and for
	// systems with file locks; Read events tell of bytes that are there as well. Where
	// layers are decompressed, of those that are not complete all is fetched again.
	Resume bool
	// SkipNonDistributable leaves out layers of the non-distributable media types.
	// Otherwise they are saved if they can be read.
	SkipNonDistributable bool
	// LeaveOut, if not nil, says which layers to leave out: for whoever gets them
	// another way. Only who has them can use the image. It may be called concurrently.
	LeaveOut func(layer imgspecv1.Descriptor) bool

	// Without, if not nil, leaves out the layers that other archives have, of which it
	// says where they are in the archive's table of contents. Only with those is the
	// archive complete: to Add its images to one of those, or to load them where the
	// layers are, is what it is for. Only an image-archive that is new can be so.
	Without *Without

	// Referrers, if not nil, saves what registries have about the images too. Only an
	// image-archive holds it.
	Referrers *ReferrerOptions

	// Compression is none, gzip or zstd. If it is empty, the archive is compressed as
	// its path says: .tar.gz and .tgz, .tar.zst and .tzst, anything else is not.
	Compression string
	// Split, if not 0, is the size in bytes of the parts that the archive is written in,
	// as dockerarchive.WriterOptions.Split is.
	Split int64
	// ArchiveDigest, if not nil, becomes the SHA-256 of the archive as it is written,
	// compressed or not. A file that is not compressed is read again for it.
	ArchiveDigest *digest.Digest

	// Jobs is how many blobs, or manifests, are read at the same time; 0 means 6. Those of
	// registries are read in ranges if they are large, and several of one blob at once while
	// fewer blobs are read. When a registry says that it has too many requests, half as many.
	Jobs int
	// RetryTimes is how often reading a blob or a manifest is resumed after an
	// error that may pass.
	RetryTimes int
	// RetryDelay is how long to wait before each further attempt, unless a registry asks
	// for more. 0 is a second, and twice as long each time.
	RetryDelay time.Duration
	// KeepGoing leaves out images that cannot be saved. To a stream, parts of
	// them may have been written already.
	KeepGoing bool
	// Progress, if not nil, is told what happens. It is called concurrently, and
	// must return soon.
	Progress func(progress.Event)

	// Wait has Add wait, as long as the context lasts, for others who change the
	// archive. Otherwise the error wraps errdef.ErrBusy.
	Wait bool

	// KeepUntagged has Add keep an image in the table of contents that loses its last
	// name, as an image without one.
	KeepUntagged bool

	rangeSize int           // in bytes, for tests
	patience  time.Duration // likewise: for how long a line shows its rate
}

func (o *SaveOptions) reading(policy *signature.PolicyContext) selecting.Options {
	s := selecting.Options{
		Policy: policy, SourceCtx: o.SourceCtx,
		Platforms: o.Platforms, AnyPlatform: o.AnyPlatform, AllPlatforms: o.AllPlatforms, SkipMissing: o.SkipMissing, KeepIndex: o.KeepIndex,
		SkipNonDistributable: o.SkipNonDistributable, LeaveOut: o.LeaveOut,
		Jobs: o.Jobs, Retries: sources.Retries(o.RetryTimes, o.RetryDelay), RangeSize: o.rangeSize, Patience: o.patience, KeepGoing: o.KeepGoing, Progress: o.Progress,
	}
	if o.Without != nil {
		s.Without = &o.Without.layers
	}
	if o.Referrers != nil {
		s.Referrers = &selecting.Referrers{ArtifactTypes: o.Referrers.ArtifactTypes}
	}
	return s
}

func (o *SaveOptions) saving(policy *signature.PolicyContext) saving.Options {
	if o == nil {
		o = &SaveOptions{}
	}
	return saving.Options{
		Select: o.reading(policy), Transport: o.Transport, DestinationCtx: o.DestinationCtx,
		SkipDockerManifest: o.SkipDockerManifest, NoSync: o.NoSync, Resume: o.Resume,
		Compression: o.Compression, Split: o.Split, ArchiveDigest: o.ArchiveDigest,
	}
}

// ReferrerOptions say what is saved of what registries have about images: signatures,
// SBOMs, attestations and whatever else, and what is about those.
//
// That is what the referrers API lists for the manifests that are saved, or what the
// referrers tag of the distribution specification does where there is no API; and what
// is there under cosign's tags. It is about what is saved: a signature of an index is
// not found for the one platform that is taken from it. The policy is asked about the
// images, and not about what is about them.
type ReferrerOptions struct {
	// ArtifactTypes are those that are saved; none means all. A type is that of the
	// artifact or, of what has none, such as cosign's tags, of its layers.
	ArtifactTypes []string
}

// SaveResult is what became of an image.
type SaveResult struct {
	SaveImage
	// Digest is that of the manifest or index in the archive; in the layout that
	// keeps neither, that which the other would have had.
	Digest digest.Digest
	// Size is how many bytes its layers and configs have at the source, each counted
	// once; -1 if that is not known.
	Size int64
	// Platforms are what its configs say it is for, as os/architecture[/variant], in
	// their order.
	Platforms []string
	// LeftOut are the layers that other archives have and this one has not, because of
	// SaveOptions.Without.
	LeftOut []errdef.LeftOut
	// Warnings say what else should be known of the image: that it is not in
	// manifest.json, that another platform was taken, what was corrected.
	Warnings []string
	// Subject is what this is about, if it is no image that was asked for but one of its
	// referrers; empty of an image.
	Subject digest.Digest
	// Err says why the image is not in the archive. It is an *errdef.ImageError.
	Err error
}

func saveResults(done []saving.Result) []SaveResult {
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
