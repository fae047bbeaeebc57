package imagecopy

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// Ranges are how copy.Image gets blobs in ranges.
type Ranges struct {
	Size     int           // of a range, in bytes; smaller blobs are read by copy.Image
	Patience time.Duration // for how long a line shows its rate; 0 is as fetching has it
	Retries  retry.Policy
}

// AsSave is as Save reads. Callers of Copy do not say how often a broken range is asked
// for again, nor how often a whole blob is, which containers/image itself goes on with.
var AsSave = &Ranges{Size: fetching.RangeSize, Retries: sources.Retries(3, 0)}

// rangesAhead is how many ranges are kept at most before their turn: fewer than Save keeps,
// for copy.Image has memory of its own, and nothing is lost by it.
const rangesAhead = 6

// rangedSource is a registry's source from which copy.Image reads large blobs as Save
// does: in several ranges at once where that helps, and on from where one broke. copy.Image
// verifies them.
type rangedSource struct {
	types.ImageSource
	fetcher *fetching.Fetcher
	image   *fetching.Image
	whole   int64 // the largest size of a blob that is not read so

	meanwhile func() (done func())
}

// of returns a rangedSource of src, or nil if src has no ranges, or if copy.Image would
// no longer see all signatures. It reads ranges with client. meanwhile is called when a blob is
// opened in ranges, which are watched by themselves.
func (r *Ranges) of(ctx context.Context, src types.ImageSource, client *registries.Client, instances []*digest.Digest, jobs int, waiting func(host string), meanwhile func() (done func())) *rangedSource {
	if r == nil {
		return nil
	}
	blobs := sources.New(src, client)
	if !blobs.HasRanges() || !sources.OnlySimpleSignatures(ctx, src, instances) {
		return nil
	}
	blobs.Waiting = waiting
	if jobs <= 0 {
		jobs = selecting.DefaultJobs
	}
	fetcher := fetching.New(fetching.Options{
		Jobs: jobs, Patience: r.Patience, RangeSize: r.Size, Buffers: min(jobs, rangesAhead), Busy: sources.IsBusy, Backoff: r.Retries.Backoff,
		Hosts: fetching.HostsOf(ctx),
	})
	return &rangedSource{ImageSource: src, fetcher: fetcher, image: fetcher.AddImage(blobs, "", nil), whole: int64(r.Size), meanwhile: meanwhile}
}

// inRanges reports whether a blob is read so.
func (s *rangedSource) inRanges(info types.BlobInfo) bool {
	return s != nil && info.Size > s.whole && len(info.URLs) == 0
}

// GetBlob returns a blob.
func (s *rangedSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	if !s.inRanges(info) {
		return s.ImageSource.GetBlob(ctx, info, cache)
	}
	defer s.meanwhile()()
	body, err := s.fetcher.Open(ctx, s.image, imgspecv1.Descriptor{MediaType: info.MediaType, Digest: info.Digest, Size: info.Size, Annotations: info.Annotations})
	return body, info.Size, err
}

// mayBeToBlame reports whether copy.Image failed because a blob did not match its
// digest: ranges may be the reason, and later images come without them. Its error has no type.
func (s *rangedSource) mayBeToBlame(err error) bool {
	if s == nil || !s.fetcher.Ranged() || !errors.Is(err, fetching.ErrMismatch) && !strings.Contains(err.Error(), "Digest did not match") {
		return false
	}
	s.fetcher.Distrust(s.image)
	return true
}
