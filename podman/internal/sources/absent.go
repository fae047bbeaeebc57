package sources

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"slices"

	"github.com/docker/distribution/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/manifest"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/podman/internal/answers"
)

// isAbsent reports whether an error of GetBlob says that a layer is nowhere, rather
// than that it could not be asked for.
func isAbsent(src types.ImageSource, err error) bool {
	var elsewhere *elsewhereError
	if !errors.As(err, &elsewhere) {
		return notFound(err) // The error of an archive, which looks nowhere else.
	}
	// The source of a directory does not tell the errors of URLs.
	untold := src.Reference().Transport().Name() == ocilayout.Transport.Name()
	return notFound(elsewhere.near) && (untold || notFound(elsewhere.far))
}

// notFound reports whether an error says that there is no such thing.
func notFound(err error) bool {
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	var status docker.UnexpectedHTTPStatusError
	if errors.As(err, &status) {
		return status.StatusCode == http.StatusNotFound || status.StatusCode == http.StatusGone
	}
	if code, ok := answers.BodyStatus(err); ok {
		return code == http.StatusNotFound
	}
	var coded errcode.ErrorCoder
	return errors.As(err, &coded) && coded.ErrorCode().Descriptor().HTTPStatusCode == http.StatusNotFound
}

// Absent returns the layers with URLs that are nowhere, and the error of the first. It
// fails if that cannot be found out. It asks for each layer through try, which may do
// so several times.
func Absent(ctx context.Context, src types.ImageSource, layers []imgspecv1.Descriptor, try func(func(context.Context) error) error) (absent map[digest.Digest]bool, first, err error) {
	for _, l := range layers {
		if len(l.URLs) == 0 {
			continue
		}
		err := try(func(ctx context.Context) error {
			body, _, err := GetBlob(ctx, src, manifest.BlobInfoFromOCI1Descriptor(l), none.NoCache)
			if err != nil {
				return err
			}
			_ = body.Close() // Nothing was read.
			return nil
		})
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil || !isAbsent(src, err) || isNeeded(l.Digest, layers):
			return nil, nil, err
		case absent == nil:
			absent, first = map[digest.Digest]bool{}, err
		}
		absent[l.Digest] = true
	}
	return absent, first, nil
}

// isNeeded reports whether a layer is also listed as one that is where the image is.
func isNeeded(d digest.Digest, layers []imgspecv1.Descriptor) bool {
	return slices.ContainsFunc(layers, func(l imgspecv1.Descriptor) bool {
		return l.Digest == d && len(l.URLs) == 0 && !image.IsNonDistributable(l.MediaType)
	})
}

// HasURLs reports whether one of the layers may be kept elsewhere.
func HasURLs(layers []imgspecv1.Descriptor) bool {
	for _, l := range layers {
		if len(l.URLs) > 0 {
			return true
		}
	}
	return false
}
