package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Layers returns those layers of an image that are there, for archive.Bases. name may be
// as short as for docker. From an index it takes the image for the platform that sys
// asks for, or for this machine's. Nothing of a layer is read before it is opened; the
// layers stay there, and can be opened, until Close.
func (s *Store) Layers(ctx context.Context, sys *types.SystemContext, name string) ([]archive.BaseLayer, error) {
	layers, err := s.layers(ctx, sys, name)
	if err != nil {
		return nil, fmt.Errorf("image %s in containerd: %w", name, err)
	}
	return layers, nil
}

func (s *Store) layers(ctx context.Context, sys *types.SystemContext, name string) (layers []archive.BaseLayer, err error) {
	m, err := s.manifest(ctx, sys, name)
	if err != nil {
		return nil, err
	}
	var config imgspecv1.Image
	document, err := s.document(ctx, m.ConfigInfo().Digest)
	if err != nil {
		return nil, fmt.Errorf("reading its config: %w", err)
	}
	if err := image.Decode("its config", document, &config); err != nil {
		return nil, err
	}
	infos := m.LayerInfos()
	if len(infos) != len(config.RootFS.DiffIDs) {
		return nil, errors.New("its config does not fit its layers")
	}
	for n, info := range infos {
		if err := info.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("layer %q: %w", info.Digest, err)
		}
		if has, err := s.Has(ctx, info.Digest); err != nil {
			return nil, err
		} else if !has {
			continue
		}
		layers = append(layers, archive.BaseLayer{
			From: "containerd:" + name, Digest: info.Digest, Size: info.Size, DiffID: config.RootFS.DiffIDs[n],
			Open: func(ctx context.Context) (io.ReaderAt, int64, func(), error) {
				b, err := s.open(ctx, info.Digest)
				if err != nil {
					return nil, 0, nil, err
				}
				return b, b.size, func() {}, nil
			},
		})
	}
	return layers, nil
}

// manifest reads the manifest of an image.
func (s *Store) manifest(ctx context.Context, sys *types.SystemContext, name string) (manifest.Manifest, error) {
	target, err := s.target(ctx, name)
	if err != nil {
		return nil, err
	}
	document, err := s.document(ctx, target.Digest)
	if err != nil {
		return nil, err
	}
	kind := target.MediaType
	if manifest.MIMETypeIsMultiImage(kind) {
		list, err := manifest.ListFromBlob(document, kind)
		if err != nil {
			return nil, err
		}
		chosen, err := list.ChooseInstance(sys)
		if err != nil {
			return nil, err
		}
		if document, err = s.document(ctx, chosen); err != nil {
			return nil, err
		}
		kind = manifest.GuessMIMEType(document)
	}
	return manifest.FromBlob(document, kind)
}

// target returns what a name stands for.
func (s *Store) target(ctx context.Context, name string) (imgspecv1.Descriptor, error) {
	told, err := s.images.Get(s.with(ctx), &imagesapi.GetImageRequest{Name: name})
	if errdefs.IsNotFound(native(err)) {
		if named, badName := reference.ParseNormalizedNamed(name); badName == nil {
			told, err = s.images.Get(s.with(ctx), &imagesapi.GetImageRequest{Name: reference.TagNameOnly(named).String()})
		}
	}
	if err != nil {
		return imgspecv1.Descriptor{}, native(err)
	}
	d, err := digest.Parse(told.GetImage().GetTarget().GetDigest())
	return imgspecv1.Descriptor{MediaType: told.GetImage().GetTarget().GetMediaType(), Digest: d}, err
}

// document reads a manifest, an index or a config, and keeps it.
func (s *Store) document(ctx context.Context, d digest.Digest) ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("%q: %w", d, err)
	}
	b, err := s.open(ctx, d)
	if err != nil {
		return nil, err
	}
	if b.size > image.MaxDocument {
		return nil, fmt.Errorf("%s has %d bytes; at most %d are read", d, b.size, image.MaxDocument)
	}
	data := make([]byte, b.size)
	if _, err := b.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if d.Algorithm().FromBytes(data) != d {
		return nil, fmt.Errorf("%s is damaged", d)
	}
	return data, nil
}

// blobReader reads a blob. It may be used concurrently.
type blobReader struct {
	ctx    context.Context // of all reading
	store  *Store
	digest digest.Digest
	size   int64
}

// open returns a blob, which is kept.
func (s *Store) open(ctx context.Context, d digest.Digest) (*blobReader, error) {
	if err := s.keep(ctx, "content", d.String()); err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", d, native(err))
	}
	told, err := s.content.Info(s.with(ctx), &contentapi.InfoRequest{Digest: d.String()})
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", d, native(err))
	}
	return &blobReader{ctx: ctx, store: s, digest: d, size: told.GetInfo().GetSize()}, nil
}

// ReadAt implements io.ReaderAt.
func (b *blobReader) ReadAt(p []byte, off int64) (n int, err error) {
	want := p[:max(0, min(int64(len(p)), b.size-off))]
	if len(want) > 0 {
		n, err = b.read(want, off)
	}
	if err != nil {
		return n, fmt.Errorf("reading blob %s from containerd: %w", b.digest, err)
	}
	if len(want) < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// read fills p.
func (b *blobReader) read(p []byte, off int64) (n int, err error) {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel() // This ends the stream.
	stream, err := b.store.content.Read(b.store.with(ctx), &contentapi.ReadContentRequest{Digest: b.digest.String(), Offset: off, Size: int64(len(p))})
	if err != nil {
		return 0, native(err)
	}
	for n < len(p) {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return n, io.ErrUnexpectedEOF
		}
		if err != nil {
			return n, native(err)
		}
		n += copy(p[n:], part.GetData())
	}
	return n, nil
}
