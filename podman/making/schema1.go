package making

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// converted is an image of Docker's schema 1 as one of schema 2, as copying makes it. Schema 1
// tells neither the size nor the diff ID of a layer, so each layer is read, and kept in an
// unnamed temporary file.
type converted struct {
	manifest, config []byte
	layers           map[digest.Digest]*convertedLayer
}

// convertedLayer is a layer in a temporary file.
type convertedLayer struct {
	file   *local.File
	size   int64
	diffID digest.Digest
	kind   string // media type
}

// isSchema1 reports whether a manifest is of Docker's schema 1.
func isSchema1(mimeType string) bool {
	return mimeType == manifest.DockerV2Schema1MediaType || mimeType == manifest.DockerV2Schema1SignedMediaType
}

// convert reads an image of schema 1. Temporary files are put into dir.
func convert(ctx context.Context, raw []byte, dir string, open func(context.Context, imgspecv1.Descriptor) (io.ReadCloser, error)) (_ *converted, err error) {
	old, err := manifest.Schema1FromManifest(raw)
	if err != nil {
		return nil, err
	}
	c := &converted{layers: map[digest.Digest]*convertedLayer{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	var layers []manifest.Schema2Descriptor
	var diffIDs []digest.Digest
	for _, info := range old.LayerInfos() {
		if info.EmptyLayer { // A step that has changed no file.
			continue
		}
		l := c.layers[info.Digest]
		if l == nil {
			l = &convertedLayer{}
			c.layers[info.Digest] = l
			if err := l.read(ctx, dir, info.Digest, open); err != nil {
				return nil, fmt.Errorf("layer %s: %w", info.Digest, err)
			}
		}
		layers = append(layers, manifest.Schema2Descriptor{MediaType: l.kind, Digest: info.Digest, Size: l.size})
		diffIDs = append(diffIDs, l.diffID)
	}
	if c.config, err = old.ToSchema2Config(diffIDs); err != nil {
		return nil, err
	}
	config := manifest.Schema2Descriptor{MediaType: manifest.DockerV2Schema2ConfigMediaType, Digest: digest.FromBytes(c.config), Size: int64(len(c.config))}
	c.manifest, err = manifest.Schema2FromComponents(config, layers).Serialize()
	return c, err
}

// read keeps a layer, and verifies it.
func (l *convertedLayer) read(ctx context.Context, dir string, d digest.Digest, open func(context.Context, imgspecv1.Descriptor) (io.ReadCloser, error)) error {
	if err := d.Validate(); err != nil {
		return errdef.Errorf(errdef.ErrDamaged, "%w", err)
	}
	body, err := open(ctx, imgspecv1.Descriptor{Digest: d, Size: -1})
	if err != nil {
		return err
	}
	defer body.Close()
	if l.file, err = spool.Create(spool.Dir(dir)); err != nil {
		return err
	}
	digester := d.Algorithm().Digester()
	if l.size, err = io.Copy(io.MultiWriter(l.file, digester.Hash()), body); err != nil {
		return err
	}
	if got := digester.Digest(); got != d {
		return &errdef.MismatchError{Name: "its content", Want: d, Got: got}
	}
	return l.examine(ctx)
}

// examine finds out the media type and the diff ID of the layer.
func (l *convertedLayer) examine(ctx context.Context) error {
	prefix := make([]byte, min(compression.PrefixLen, l.size))
	if _, err := l.file.ReadAt(prefix, 0); err != nil {
		return err
	}
	l.kind = manifest.DockerV2Schema2LayerMediaType
	algorithm := compression.Detect(prefix)
	if algorithm == compression.None {
		l.kind = manifest.DockerV2SchemaLayerMediaTypeUncompressed
	}
	tar, err := compression.NewReader(async.WithContext(ctx, io.NewSectionReader(l.file, 0, l.size)), algorithm)
	if err != nil {
		return errdef.Errorf(errdef.ErrDamaged, "%w", err)
	}
	defer tar.Close()
	digester := digest.Canonical.Digester()
	if _, err := io.Copy(digester.Hash(), tar); err != nil {
		return errdef.Errorf(errdef.ErrDamaged, "%w", err)
	}
	l.diffID = digester.Digest()
	return nil
}

// blob returns a blob of the image.
func (c *converted) blob(d digest.Digest) (io.ReadCloser, error) {
	if l := c.layers[d]; l != nil {
		return io.NopCloser(io.NewSectionReader(l.file, 0, l.size)), nil
	}
	if d == digest.FromBytes(c.config) {
		return inMemory(c.config), nil
	}
	return nil, fmt.Errorf("the image has no blob %s", d)
}

// close frees the disk space of the layers.
func (c *converted) close() error {
	var errs []error
	for _, l := range c.layers {
		if l.file != nil {
			errs = append(errs, l.file.Close())
		}
	}
	return errors.Join(errs...)
}
