package sources

import (
	"context"
	"io"
	"sync"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/stall"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// Blobs makes a fetching.Source of a types.ImageSource.
type Blobs struct {
	src    types.ImageSource
	serial *sync.Mutex        // held while a blob is read, if src allows only one at a time
	client *registries.Client // for ranges; nil if there are none

	mu       sync.Mutex
	now      types.ImageSource   // the one to read from: src, or one that was opened later
	reopened []types.ImageSource // later

	// Reopen, if not nil, opens the source anew after its registry rejected a token. It must
	// not be changed while a blob is read.
	Reopen func(context.Context) (types.ImageSource, error)
	// Waiting is called for a registry that sends nothing. It must not be changed while a
	// blob is read.
	Waiting func(host string)
}

// New returns the blobs of a source. If it is in a registry, ranges of them are read with
// client, which is open for as long as they are read; nil is for blobs without ranges.
func New(src types.ImageSource, client *registries.Client) *Blobs {
	s := &Blobs{src: src, now: src, Waiting: func(string) {}}
	if !src.HasThreadSafeGetBlob() {
		s.serial = new(sync.Mutex)
	} else if IsRegistry(src.Reference()) {
		s.client = client
	}
	return s
}

// Open implements fetching.Source. Without ranges, it reads a blob from its start, and
// skips the unwanted bytes.
func (s *Blobs) Open(ctx context.Context, blob imgspecv1.Descriptor, offset int64) (io.ReadCloser, error) {
	ahead := int64(0)
	body, err := s.watched(ctx, func(ctx context.Context) (io.ReadCloser, error) {
		return s.reading(ctx, func(from types.ImageSource) (body io.ReadCloser, err error) {
			body, ahead, err = s.open(ctx, from, blob, offset)
			return body, err
		})
	})
	if err != nil {
		return nil, err
	}
	return fetching.Skip(body, ahead) // Only here, where it is seen to move: it may take long.
}

// watched opens something. For a registry it fails when nothing comes.
func (s *Blobs) watched(ctx context.Context, open func(context.Context) (io.ReadCloser, error)) (io.ReadCloser, error) {
	if !IsRegistry(s.src.Reference()) {
		return open(ctx)
	}
	return stall.Open(ctx, reference.Domain(s.src.Reference().DockerReference()), s.Waiting, open)
}

// open opens a blob. It also returns how many bytes come before offset.
func (s *Blobs) open(ctx context.Context, from types.ImageSource, blob imgspecv1.Descriptor, offset int64) (body io.ReadCloser, ahead int64, err error) {
	if offset > 0 && offset < blob.Size && s.hasRanges(blob) {
		// Up to its last byte: some do not understand a range without an end.
		body, err := s.client.Range(ctx, s.src.Reference().DockerReference(), blob, offset, blob.Size-offset)
		if err == nil || ctx.Err() != nil || mayPass(err) {
			return body, 0, err
		}
	}
	unlock := func() {}
	if s.serial != nil {
		s.serial.Lock()
		unlock = s.serial.Unlock
	}
	body, _, err = GetBlob(ctx, from, manifest.BlobInfoFromOCI1Descriptor(blob), none.NoCache)
	if err != nil {
		unlock()
		return nil, 0, err
	}
	if s.hasRanges(blob) {
		body = &breakingBody{body}
	}
	return &unlockingBody{ReadCloser: body, unlock: unlock}, offset, nil
}

type unlockingBody struct {
	io.ReadCloser
	unlock func()
}

// Close closes the body, and lets the next blob be read.
func (b *unlockingBody) Close() error {
	defer b.unlock()
	return b.ReadCloser.Close()
}

// Source returns the source.
func (s *Blobs) Source() types.ImageSource { return s.src }

// HasRanges reports whether blobs can be read in ranges, several at once.
func (s *Blobs) HasRanges() bool { return s.client != nil }

// hasRanges reports whether a blob can: one that may lie elsewhere cannot.
func (s *Blobs) hasRanges(blob imgspecv1.Descriptor) bool {
	return s.client != nil && len(blob.URLs) == 0
}

// reading reads from the source. A source of containers/image keeps its token for as long as
// the token says. If a registry rejects it earlier, reading opens another source with a new
// token, once for each request.
func (s *Blobs) reading(ctx context.Context, read func(types.ImageSource) (io.ReadCloser, error)) (io.ReadCloser, error) {
	s.mu.Lock()
	from := s.now
	s.mu.Unlock()
	body, err := read(from)
	if err != nil && s.Reopen != nil && IsRejected(err) {
		if from, err = s.renew(ctx, from); err == nil {
			body, err = read(from)
		}
	}
	return body, err
}

// renew returns a source instead of one that was rejected.
func (s *Blobs) renew(ctx context.Context, rejected types.ImageSource) (types.ImageSource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != rejected { // Another request was faster.
		return s.now, nil
	}
	src, err := s.Reopen(ctx)
	if err != nil {
		return nil, err
	}
	s.now = src
	s.reopened = append(s.reopened, src)
	return s.now, nil
}

// Close closes the sources that were opened instead of the first one, which stays open.
func (s *Blobs) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, src := range s.reopened {
		src.Close() // It has only been read from.
	}
	s.reopened = nil
}
