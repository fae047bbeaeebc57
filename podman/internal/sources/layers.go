package sources

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/spool"
	"github.com/dockerarchive/dockerarchive/internal/stall"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// layerRetries is how often something is tried again: callers do not say.
const layerRetries = 3

// Layers returns the layers of an image, which can be read at any offset: each is read
// into a temporary file without a name when it is opened, and on where it broke off. The image
// stays open until release is called, which is never nil.
func Layers(ctx context.Context, sys *types.SystemContext, name string, ref types.ImageReference) (layers []archive.BaseLayer, release func() error, err error) {
	var src types.ImageSource
	var infos []types.BlobInfo
	var diffIDs []digest.Digest
	err = Retries(layerRetries, 0).Do(ctx, nil, func() error {
		return asking(ctx, ref, func(ctx context.Context) (err error) {
			src, infos, diffIDs, err = openLayers(ctx, sys, ref)
			return err
		})
	})
	if err != nil {
		return nil, func() error { return nil }, err
	}
	client, dir := registries.New(sys), spool.Dir("")
	if sys != nil {
		dir = spool.Dir(sys.BigFilesTemporaryDir)
	}
	fetcher := fetching.New(fetching.Options{Jobs: 1, Hosts: fetching.HostsOf(ctx), Busy: IsBusy, Backoff: Retries(layerRetries, 0).Backoff})
	from := fetcher.AddImage(New(src, client), name, nil)
	for n, info := range infos {
		layer := imgspecv1.Descriptor{MediaType: info.MediaType, Digest: info.Digest, Size: info.Size, URLs: info.URLs}
		layers = append(layers, archive.BaseLayer{
			From: name, Digest: known(info, diffIDs[n]), Size: info.Size, DiffID: diffIDs[n],
			Open: func(ctx context.Context) (io.ReaderAt, int64, func(), error) {
				body, err := fetcher.Open(ctx, from, layer)
				if err != nil {
					return nil, 0, nil, err
				}
				defer body.Close() // It is only read.
				return spooled(body, dir)
			},
		})
	}
	return layers, func() error {
		client.Close()
		return src.Close()
	}, nil
}

// asking calls f, which fails when a registry sends nothing.
func asking(ctx context.Context, ref types.ImageReference, f func(context.Context) error) error {
	if !IsRegistry(ref) {
		return f(ctx)
	}
	return stall.Ask(ctx, func(string) {}, func(ctx context.Context, _ *stall.Watch) error { return f(ctx) })
}

// openLayers opens an image, and returns its layers with their DiffIDs.
func openLayers(ctx context.Context, sys *types.SystemContext, ref types.ImageReference) (src types.ImageSource, infos []types.BlobInfo, diffIDs []digest.Digest, err error) {
	src, err = ref.NewImageSource(ctx, Opening(sys, ref, true))
	if err != nil {
		return nil, nil, nil, err
	}
	opened := src
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.Close())
		}
	}()
	src = Truthful(ctx, src)
	img, err := Parse(ctx, Opening(sys, ref, true), src, nil, image.UnparsedInstance(src, nil))
	if err != nil {
		return nil, nil, nil, err
	}
	config, err := img.OCIConfig(ctx)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("reading its config: %w", err)
	}
	infos, err = img.LayerInfosForCopy(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if infos == nil { // Only a storage has them in another form.
		infos = img.LayerInfos()
	}
	if len(infos) != len(config.RootFS.DiffIDs) {
		return nil, nil, nil, errors.New("its config does not fit its layers")
	}
	return src, infos, config.RootFS.DiffIDs, nil
}

// known returns the digest of a layer in a manifest, or none for a layer that is there
// uncompressed: a manifest with the compressed layer does not list that.
func known(info types.BlobInfo, diffID digest.Digest) digest.Digest {
	if info.Digest == diffID && info.Size < 0 {
		return ""
	}
	return info.Digest
}

// spooled reads a layer into a temporary file.
func spooled(body io.Reader, dir string) (io.ReaderAt, int64, func(), error) {
	f, err := spool.Create(dir)
	if err != nil {
		return nil, 0, nil, err
	}
	size, err := io.Copy(f, body)
	if err != nil {
		return nil, 0, nil, errors.Join(err, f.Close())
	}
	return f, size, func() { _ = f.Close() }, nil // It is temporary.
}
