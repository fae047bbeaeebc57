package copying

import (
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/retry"
)

// ranging is how copy.Image gets blobs in ranges.
type ranging struct {
	size    int // of a range, in bytes; smaller blobs are read whole
	retries retry.Policy
}

// asSave is as Save reads. Who copies does not say how often a range that breaks is asked
// for again, as with whole blobs, which containers/image itself goes on with.
var asSave = &ranging{size: fetching.RangeSize, retries: retryPolicy(3)}

// rangesAhead is how many ranges are kept at most before their turn: fewer than Save keeps,
// for copy.Image has memory of its own, and nothing is lost by it.
const rangesAhead = 6

// rangedSource is a registry's source from which copy.Image reads large blobs as Save
// does: in several ranges at once, and on from where one broke. copy.Image verifies them.
type rangedSource struct {
	types.ImageSource
	fetcher *fetching.Fetcher
	image   *fetching.Image
	whole   int64 // the largest size of a blob that is not read so
	used    atomic.Bool
}

// of returns a rangedSource of src, or nil where there is none: where src has no ranges,
// or copy.Image would not see all signatures any more.
func (r *ranging) of(ctx context.Context, src types.ImageSource, instances []*digest.Digest, jobs int, waiting func(host string)) *rangedSource {
	if r == nil {
		return nil
	}
	blobs := newBlobSource(src)
	if !blobs.ranger.IsValid() || blobs.serial != nil || !hasOnlySimpleSignatures(ctx, src, instances) {
		return nil
	}
	blobs.waiting = waiting
	if jobs <= 0 {
		jobs = defaultJobs
	}
	fetcher := fetching.New(fetching.Options{
		Jobs: jobs, RangeSize: r.size, Buffers: min(jobs, rangesAhead), Busy: isBusy, Backoff: r.retries.Backoff,
	})
	return &rangedSource{ImageSource: src, fetcher: fetcher, image: fetcher.AddImage(blobs, nil), whole: int64(r.size)}
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
	s.used.Store(true)
	body, err := s.fetcher.Open(ctx, s.image, imgspecv1.Descriptor{MediaType: info.MediaType, Digest: info.Digest, Size: info.Size, Annotations: info.Annotations})
	return body, info.Size, err
}

// mayBeToBlame reports whether copy.Image failed because a blob was not what its digest
// says, which ranges may be the reason for. Its error has no type.
func (s *rangedSource) mayBeToBlame(err error) bool {
	return s != nil && s.used.Load() && (errors.Is(err, fetching.ErrMismatch) || strings.Contains(err.Error(), "Digest did not match"))
}

// hasOnlySimpleSignatures reports whether an image has, and its instances have, no
// signatures of another format than the one of types.ImageSource. Of these copy.Image
// learns by a method whose result is of an internal type, so that a source of ours does
// not have it.
func hasOnlySimpleSignatures(ctx context.Context, src types.ImageSource, instances []*digest.Digest) bool {
	method := reflect.ValueOf(src).MethodByName("GetSignaturesWithFormat")
	if !method.IsValid() {
		return true // They would not have been seen before either.
	}
	if !isSignatureGetter(method.Type()) {
		return false
	}
	for _, instance := range instances {
		results := method.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(instance)})
		if !results[1].IsNil() {
			return false // copy.Image says why.
		}
		for i := range results[0].Len() {
			if signature := results[0].Index(i).Elem(); !signature.IsValid() || signature.Type().Name() != "SimpleSigning" {
				return false
			}
		}
	}
	return true
}

func isSignatureGetter(t reflect.Type) bool {
	return t.NumIn() == 2 && t.NumOut() == 2 && !t.IsVariadic() &&
		t.In(0) == reflect.TypeFor[context.Context]() && t.In(1) == reflect.TypeFor[*digest.Digest]() &&
		t.Out(0).Kind() == reflect.Slice && t.Out(0).Elem().Kind() == reflect.Interface && t.Out(1) == reflect.TypeFor[error]()
}
