package compose

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/archive"
)

// ArchiveBase returns an image of an archive as a base. The archive must stay open until
// what is built on it has been made.
func ArchiveBase(m *archive.Manifest) Base { return archiveBase{m} }

type archiveBase struct{ manifest *archive.Manifest }

// Manifest implements Base.
func (b archiveBase) Manifest(context.Context) ([]byte, string, error) {
	return b.manifest.Data, b.manifest.MediaType, nil
}

// MadeUp implements MadeUpBase.
func (b archiveBase) MadeUp() bool { return b.manifest.Made }

// At implements RandomBase.
func (b archiveBase) At(ctx context.Context, d v1.Descriptor) (io.ReaderAt, int64, digest.Digest, error) {
	layers, err := b.manifest.Layers(ctx)
	if err != nil {
		return nil, 0, "", err
	}
	sources, err := b.manifest.LayerSources(ctx)
	if err != nil {
		return nil, 0, "", nil // Blob says of the layer that is not there.
	}
	for i, l := range layers {
		if l.Digest == d.Digest && sources[i].At != nil {
			at, size, err := sources[i].At(ctx)
			return at, size, sources[i].Digest, err
		}
	}
	return nil, 0, "", nil
}

// Blob implements Base.
func (b archiveBase) Blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	layers, err := b.manifest.Layers(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		if l.Digest != d.Digest {
			continue
		}
		blob, err := l.Blob(ctx)
		if err != nil {
			return nil, err
		}
		return blob.Open(ctx)
	}
	config, err := b.manifest.Config(ctx)
	if err != nil {
		return nil, err
	}
	if d.Digest != digest.Canonical.FromBytes(config) {
		return nil, fmt.Errorf("the image has no blob %s", d.Digest)
	}
	return io.NopCloser(bytes.NewReader(config)), nil
}
