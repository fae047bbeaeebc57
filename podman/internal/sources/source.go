package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/manifest"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/image"
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

// Truthful returns src with a true manifest if src makes manifests up, and else with the real
// types of manifests.
func Truthful(ctx context.Context, src types.ImageSource) types.ImageSource {
	switch src.Reference().Transport().Name() {
	case DockerDaemon, dockerarchive.Transport.Name(): // Archives, read by this module or containers/image.
		return truthfulSource{src}
	}
	return Typed(ctx, src)
}

// GetManifest returns the manifest.
func (s truthfulSource) GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	m, mimeType, err := s.ImageSource.GetManifest(ctx, instance)
	if err != nil {
		return nil, "", err
	}
	document, err := image.ParseDocument(m, mimeType)
	if err != nil || document.Config == nil {
		return m, mimeType, nil // Its reader gets the error.
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

// Concurrently returns src so that its blobs are read concurrently, if src is known to
// open a file for each.
func Concurrently(src types.ImageSource) types.ImageSource {
	ref := src.Reference()
	switch ref.Transport().Name() {
	case ocilayout.Transport.Name():
		return concurrentSource{Near{src}}
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

// Near is a source that looks for layers beside the image before it tries their URLs.
// containers/image does it the other way round.
type Near struct{ types.ImageSource }

// GetBlob returns a blob.
func (s Near) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	return GetBlob(ctx, s.ImageSource, info, cache)
}

// GetBlob returns a blob, as Near does.
func GetBlob(ctx context.Context, src types.ImageSource, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	if len(info.URLs) == 0 || IsArchived(src) { // An archive looks nowhere else.
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

// IsArchived reports whether a source is an archive of this module.
func IsArchived(src types.ImageSource) bool {
	name := named(src).Reference().Transport().Name()
	return name == dockerarchive.Transport.Name() || name == dockerarchive.ImageTransport.Name()
}

// elsewhereError says why a layer with URLs is neither beside the image nor at its
// URLs.
type elsewhereError struct {
	text      string
	near, far error
}

// Error names the layer and its URLs.
func (e *elsewhereError) Error() string { return e.text + ": " + e.far.Error() }

// Unwrap returns both reasons.
func (e *elsewhereError) Unwrap() []error { return []error{e.near, e.far} }
