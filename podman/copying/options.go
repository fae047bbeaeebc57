package copying

import (
	"errors"
	"time"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
	"github.com/dockerarchive/dockerarchive/progress"
)

// Reading is how images are read, and sent on. The zero value will do.
type Reading struct {
	// SourceCtx is for reading the images.
	SourceCtx *types.SystemContext
	// Jobs is how many blobs, or manifests, are read or sent at the same time; 0 means 6.
	// Large ones of registries are read in ranges, and several of one blob at once while
	// fewer blobs are read. When a registry says that it has too many requests, half as
	// many.
	Jobs int
	// RetryTimes is how often something is tried again, or gone on with where it broke,
	// after an error that may pass. When a large blob is sent, attempts after which the
	// registry has a good part more of it are not counted.
	RetryTimes int
	// RetryDelay is how long to wait before each further attempt, unless a registry asks
	// for more. 0 is a second, and twice as long each time.
	RetryDelay time.Duration
	// Progress, if not nil, is told what happens. It is called concurrently, and must
	// return soon.
	Progress func(progress.Event)

	rangeSize int           // in bytes, for tests
	patience  time.Duration // likewise: for how long a line shows its rate
}

func (o *Reading) options(policy *signature.PolicyContext) selecting.Options {
	return selecting.Options{
		Policy: policy, SourceCtx: o.SourceCtx, Jobs: o.Jobs, Retries: sources.Retries(o.RetryTimes, o.RetryDelay),
		RangeSize: o.rangeSize, Patience: o.patience, Progress: o.Progress,
	}
}

// Selection is what is taken of images. The zero value takes one platform: the one that
// SourceCtx asks for, or this machine's.
type Selection struct {
	// Platforms chooses from images that are an index; an image that is not must be
	// for one of them, and a warning says which of them it is not for. One platform is saved as a single image under
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
	// SkipNonDistributable leaves out layers of the non-distributable media types.
	// Otherwise they are saved if they can be read.
	SkipNonDistributable bool
	// LeaveOut, if not nil, says which layers to leave out: for whoever gets them
	// another way. Only who has them can use the image. It may be called concurrently.
	LeaveOut func(layer imgspecv1.Descriptor) bool
	// Referrers, if not nil, saves what registries have about the images too. Only an
	// image-archive holds it.
	Referrers *ReferrerOptions
}

func (o *Selection) choose(s selecting.Options) selecting.Options {
	s.Platforms, s.AnyPlatform, s.AllPlatforms = o.Platforms, o.AnyPlatform, o.AllPlatforms
	s.SkipMissing, s.KeepIndex = o.SkipMissing, o.KeepIndex
	s.SkipNonDistributable, s.LeaveOut = o.SkipNonDistributable, o.LeaveOut
	if o.Referrers != nil {
		s.Referrers = &selecting.Referrers{ArtifactTypes: o.Referrers.ArtifactTypes}
	}
	return s
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

// under calls do with a policy, or with that of the system if it is nil.
func under[T any](policy *signature.PolicyContext, sys *types.SystemContext, do func(*signature.PolicyContext) (T, error)) (done T, err error) {
	if policy == nil {
		if policy, err = sources.SystemPolicy(sys); err != nil {
			return done, err
		}
		defer func() { err = errors.Join(err, policy.Destroy()) }()
	}
	return do(policy)
}

// orZero returns what options are, or the zero value if there are none.
func orZero[T any](options *T) T {
	if options == nil {
		return *new(T)
	}
	return *options
}
