package sources

import (
	"context"
	"errors"
	"io"
	"sync"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/stall"
)

// Blobs makes a fetching.Source of a types.ImageSource.
type Blobs struct {
	src    types.ImageSource
	serial *sync.Mutex // held while a blob is read, if src allows only one at a time
	ranger *ranger     // nil if there are no ranges to be had

	// Waiting is told of a registry that sends nothing. It must not be changed while a blob
	// is read.
	Waiting func(host string)
}

// New returns the blobs of a source.
func New(src types.ImageSource) *Blobs {
	s := &Blobs{src: src, ranger: newRanger(src), Waiting: func(string) {}}
	if !src.HasThreadSafeGetBlob() {
		s.serial = new(sync.Mutex)
	}
	return s
}

// Open implements fetching.Source. If there are no ranges to be had, it reads a blob
// from its start, and skips what is not wanted.
func (s *Blobs) Open(ctx context.Context, blob imgspecv1.Descriptor, offset int64) (io.ReadCloser, error) {
	return s.watched(ctx, func(ctx context.Context) (io.ReadCloser, error) { return s.open(ctx, blob, offset) })
}

// watched opens something, of a registry such that it fails when nothing comes.
func (s *Blobs) watched(ctx context.Context, open func(context.Context) (io.ReadCloser, error)) (io.ReadCloser, error) {
	if !IsRegistry(s.src.Reference()) {
		return open(ctx)
	}
	return stall.Open(ctx, reference.Domain(s.src.Reference().DockerReference()), s.Waiting, open)
}

func (s *Blobs) open(ctx context.Context, blob imgspecv1.Descriptor, offset int64) (io.ReadCloser, error) {
	if offset > 0 && offset < blob.Size && s.HasRanges() && len(blob.URLs) == 0 {
		// Up to its last byte: some do not understand a range without an end.
		body, err := s.ranger.open(ctx, manifest.BlobInfoFromOCI1Descriptor(blob), uint64(offset), uint64(blob.Size-offset))
		if err == nil {
			return body, nil
		}
		if !errors.Is(err, fetching.ErrNoRanges) {
			return nil, err
		}
	}
	unlock := func() {}
	if s.serial != nil {
		s.serial.Lock()
		unlock = s.serial.Unlock
	}
	body, _, err := GetBlob(ctx, s.src, manifest.BlobInfoFromOCI1Descriptor(blob), none.NoCache)
	if err != nil {
		unlock()
		return nil, err
	}
	if s.HasRanges() && len(blob.URLs) == 0 {
		body = &breakingBody{body}
	}
	return fetching.Skip(&unlockingBody{ReadCloser: body, unlock: unlock}, offset)
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
func (s *Blobs) HasRanges() bool { return s.ranger != nil && s.serial == nil }
