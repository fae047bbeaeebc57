package copying

import (
	"context"
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
	// RetryTimes is how often something is tried again, or resumed where it broke,
	// after an error that may pass. When a large blob is sent, attempts after which the
	// registry has a good part more of it are not counted.
	RetryTimes int
	// RetryDelay is how long to wait before each further attempt, unless a registry asks
	// for more. 0 is a second, and twice as long each time.
	RetryDelay time.Duration
	// Progress, if not nil, is called for each event. It is called concurrently, and
	// must return soon.
	Progress func(progress.Event)

	rangeSize int           // in bytes, for tests
	patience  time.Duration // likewise: for how long a line shows its rate
}

func (o *Reading) options(ctx context.Context, policy *signature.PolicyContext) selecting.Options {
	return selecting.Options{
		Policy: policy, SourceCtx: o.SourceCtx, Jobs: o.Jobs, Retries: sources.Retries(o.RetryTimes, o.RetryDelay),
		RangeSize: o.rangeSize, Patience: o.patience, Hosts: selecting.HostsOf(ctx), Progress: o.Progress,
	}
}

// Remembering returns a context for several operations that follow one another or run at the
// same time. With it, they share what they learn of registries: which of them refuse ranges of
// blobs, take long to find them, or ask for fewer requests. Each operation learns that anew
// without it. It is remembered for as long as the context, in memory only.
func Remembering(ctx context.Context) context.Context { return selecting.Remembering(ctx) }

// Selection says which parts of images are taken. The zero value takes one platform:
// the one that SourceCtx asks for, or this machine's.
type Selection struct {
	// Platforms chooses from images that are an index; an image that is not must be for
	// one of them, and a warning says which of them it is not for. One platform is saved
	// as a single image under its own digest. For several, an index is made that lists
	// these only, with the attestations that belong to them: an index with manifests that
	// are not there would keep the digest, but containerd does not import all of it.
	Platforms []imgspecv1.Platform
	// AnyPlatform takes an image that is not an index even if it is for none of
	// Platforms. Otherwise that is an *errdef.NoPlatformError.
	AnyPlatform bool
	// AllPlatforms saves every index as it is, with all that it lists.
	AllPlatforms bool
	// SkipMissing saves the part of an index that its source has, if there is any. The
	// index is saved as it is. Otherwise an *errdef.MissingError lists the missing
	// manifests.
	SkipMissing bool
	// KeepIndex saves the index that platforms are chosen from as it is, under its
	// own digest, which somebody may have pinned, although the archive lacks some of
	// its manifests. docker save --platform and ctr images export write such archives.
	// ctr images import --all-platforms refuses it.
	KeepIndex bool
	// SkipNonDistributable leaves out layers of the non-distributable media types.
	// Otherwise they are saved if they can be read.
	SkipNonDistributable bool
	// LeaveOut, if not nil, says which layers to leave out, because the recipient gets
	// them another way. The image is of no use without them. It may be called
	// concurrently.
	LeaveOut func(layer imgspecv1.Descriptor) bool
	// Referrers, if not nil, saves signatures, SBOMs and other referrers of the images
	// too. Only an image-archive holds it.
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

// ReferrerOptions say which referrers of images are saved: signatures, SBOMs,
// attestations and others, and referrers to those.
//
// They come from the referrers API, which is asked about the manifests that are saved,
// or from the referrers tag of the distribution specification where there is no API;
// and from cosign's tags. They refer to saved manifests only: a signature of an index
// is not found for the one platform that is taken from it. The policy is asked about
// the images, and not about their referrers.
type ReferrerOptions struct {
	// ArtifactTypes are those that are saved; none means all. A type is that of the
	// artifact or, if it has none, as with cosign's tags, of its layers.
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

// orZero returns the options, or the zero value for nil.
func orZero[T any](options *T) T {
	if options == nil {
		return *new(T)
	}
	return *options
}
