package copying

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/stall"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

// concurrentSource is a source whose GetBlob is safe for concurrent use although
// it does not say so.
type concurrentSource struct{ types.ImageSource }

// HasThreadSafeGetBlob is true.
func (concurrentSource) HasThreadSafeGetBlob() bool { return true }

// truthfulSource is a source that makes up manifests, with the types that the layers
// really have: see image.Truthful.
type truthfulSource struct{ types.ImageSource }

// truthful returns src so that its manifest is true if it is one that it makes up.
func truthful(src types.ImageSource) types.ImageSource {
	switch src.Reference().Transport().Name() {
	case dockerDaemon, dockerarchive.Transport.Name(): // Of ours, and of containers/image.
		return truthfulSource{src}
	}
	return src
}

// GetManifest returns the manifest.
func (s truthfulSource) GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	m, mimeType, err := s.ImageSource.GetManifest(ctx, instance)
	if err != nil {
		return nil, "", err
	}
	document, err := image.ParseDocument(m, mimeType)
	if err != nil || document.Config == nil {
		return m, mimeType, nil // For whoever reads it.
	}
	body, _, err := s.ImageSource.GetBlob(ctx, manifest.BlobInfoFromOCI1Descriptor(*document.Config), none.NoCache)
	if err != nil {
		return nil, "", fmt.Errorf("reading config %s: %w", document.Config.Digest, err)
	}
	defer body.Close()
	config, err := io.ReadAll(io.LimitReader(body, image.MaxDocument))
	if err != nil {
		return nil, "", fmt.Errorf("reading config %s: %w", document.Config.Digest, err)
	}
	return image.Truthful(m, config), mimeType, nil
}

// concurrently returns src so that its blobs are read concurrently if it is known
// to open a file for each.
func concurrently(src types.ImageSource) types.ImageSource {
	ref := src.Reference()
	switch ref.Transport().Name() {
	case ocilayout.Transport.Name():
		return concurrentSource{nearSource{src}}
	case directory.Transport.Name():
		// Wrapping hides sigstore signatures, which a policy may ask for, from
		// copy.Image.
		_, err := os.Stat(filepath.Join(ref.StringWithinTransport(), "signature-1"))
		if errors.Is(err, fs.ErrNotExist) {
			return concurrentSource{src}
		}
	}
	return src
}

// nearSource is a source that takes layers from where the image is before it looks
// where their URLs lead. containers/image does it the other way round.
type nearSource struct{ types.ImageSource }

// GetBlob returns a blob.
func (s nearSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	return getBlob(ctx, s.ImageSource, info, cache)
}

func getBlob(ctx context.Context, src types.ImageSource, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	if len(info.URLs) == 0 || isArchived(src) { // Which looks nowhere else.
		return src.GetBlob(ctx, info, cache)
	}
	near := info
	near.URLs = nil
	body, size, nearErr := src.GetBlob(ctx, near, cache)
	if nearErr == nil || ctx.Err() != nil {
		return body, size, nearErr
	}
	body, size, err := src.GetBlob(ctx, info, cache)
	if err != nil {
		text := fmt.Sprintf("layer %s, which is kept at %q", info.Digest, info.URLs)
		return nil, 0, &elsewhereError{text: text, near: nearErr, far: err}
	}
	return body, size, nil
}

func isArchived(src types.ImageSource) bool {
	if renamed, ok := src.(sourceUnderPolicy); ok {
		src = renamed.ImageSource
	}
	name := src.Reference().Transport().Name()
	return name == dockerarchive.Transport.Name() || name == dockerarchive.ImageTransport.Name()
}

// blobSource makes a fetching.Source of a types.ImageSource.
type blobSource struct {
	src    types.ImageSource
	serial *sync.Mutex // held while a blob is read, if src allows only one at a time
	ranger reflect.Value

	waiting func(host string) // is told of a registry that sends nothing
}

func newBlobSource(src types.ImageSource) *blobSource {
	s := &blobSource{src: src, ranger: ranger(src), waiting: func(string) {}}
	if !src.HasThreadSafeGetBlob() {
		s.serial = new(sync.Mutex)
	}
	return s
}

// Open implements fetching.Source. If there are no ranges to be had, it reads a blob
// from its start, and skips what is not wanted.
func (s *blobSource) Open(ctx context.Context, blob imgspecv1.Descriptor, offset int64) (io.ReadCloser, error) {
	return s.watched(ctx, func(ctx context.Context) (io.ReadCloser, error) { return s.open(ctx, blob, offset) })
}

// isRegistry reports whether what a reference has comes over connections that are to be
// watched. A daemon may take its time before it answers, and a pipe too.
func isRegistry(ref types.ImageReference) bool {
	return ref.Transport().Name() == docker.Transport.Name()
}

// watched opens something, of a registry such that it fails when nothing comes.
func (s *blobSource) watched(ctx context.Context, open func(context.Context) (io.ReadCloser, error)) (io.ReadCloser, error) {
	if !isRegistry(s.src.Reference()) {
		return open(ctx)
	}
	return stall.Open(ctx, reference.Domain(s.src.Reference().DockerReference()), s.waiting, open)
}

func (s *blobSource) open(ctx context.Context, blob imgspecv1.Descriptor, offset int64) (io.ReadCloser, error) {
	if offset > 0 && offset < blob.Size && s.hasRanges(blob) {
		body, err := s.getBlobAt(ctx, blob, uint64(offset), toTheEnd)
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
	body, _, err := getBlob(ctx, s.src, manifest.BlobInfoFromOCI1Descriptor(blob), none.NoCache)
	if err != nil {
		unlock()
		return nil, err
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
