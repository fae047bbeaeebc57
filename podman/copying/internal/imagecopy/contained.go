package imagecopy

import (
	"context"
	"io"
	"net/http"

	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/internal/answers"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// contained returns a registry as a destination that sends credentials to no other host, and a
// function that releases it. containers/image sends them wherever the registry wants blobs to
// be uploaded. Only containers/image can write sigstore signatures: then contained fails if
// the registry wants uploads elsewhere, as far as it says so before.
func contained(ctx context.Context, dest, source types.ImageReference, options *copy.Options) (types.ImageReference, func(), error) {
	client := registries.New(options.DestinationCtx)
	if !sources.IsRegistry(source) && len(options.Signers) == 0 && options.SignBySigstorePrivateKeyFile == "" {
		return containedReference{dest, client}, client.Close, nil
	}
	defer client.Close()
	if err := client.CheckUploads(ctx, dest.DockerReference()); err != nil {
		return nil, nil, err
	}
	return dest, func() {}, nil
}

type containedReference struct {
	types.ImageReference
	client *registries.Client
}

// NewImageDestination returns the registry.
func (r containedReference) NewImageDestination(ctx context.Context, sys *types.SystemContext) (types.ImageDestination, error) {
	dest, err := r.ImageReference.NewImageDestination(ctx, sys)
	if err != nil {
		return nil, err
	}
	return containedDestination{dest, r.client}, nil
}

type containedDestination struct {
	types.ImageDestination
	client *registries.Client
}

// PutBlob sends a blob.
func (d containedDestination) PutBlob(ctx context.Context, stream io.Reader, info types.BlobInfo, cache types.BlobInfoCache, _ bool) (types.BlobInfo, error) {
	to := d.Reference().DockerReference()
	put, err := d.client.Put(ctx, to, stream, info)
	if err != nil {
		return types.BlobInfo{}, err
	}
	cache.RecordKnownLocation(docker.Transport, types.BICTransportScope{Opaque: reference.Domain(to)}, put.Digest, types.BICLocationReference{Opaque: to.Name()})
	return put, nil
}

// TryReusingBlob reports whether the registry has a blob. If the registry does not say, the
// blob is sent.
func (d containedDestination) TryReusingBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache, canSubstitute bool) (bool, types.BlobInfo, error) {
	there, reused, err := d.ImageDestination.TryReusingBlob(ctx, info, cache, canSubstitute)
	if code, ok := answers.Status(err); ok && (code == http.StatusForbidden || code == http.StatusMethodNotAllowed) {
		return false, types.BlobInfo{}, nil
	}
	return there, reused, err
}
