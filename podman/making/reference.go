package making

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	ctrimage "go.podman.io/image/v5/image"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// transport is that of images that are made. It is not registered: there is no string
// that says what to make.
type transport struct{}

// Name returns the name of the transport in messages and policies.
func (transport) Name() string { return "made" }

// ParseReference returns an error.
func (transport) ParseReference(string) (types.ImageReference, error) {
	return nil, errors.New("an image that is made has no name to find it by")
}

// ValidatePolicyConfigurationScope returns an error: there are no scopes.
func (transport) ValidatePolicyConfigurationScope(scope string) error {
	return fmt.Errorf(`made: policy scope %q: only the default scope "" is supported`, scope)
}

// imageReference is an image that is made when it is opened.
type imageReference struct {
	image *compose.Image
	name  reference.Named // may be nil
}

// Reference returns a reference to an image that is made every time an image source of
// it is opened, with the same bytes. Its layers are kept in unnamed temporary files
// until the source is closed. It can be copied to any transport, but WriteArchive is
// better for an archive of this module, as it needs no temporary files. name is its
// name, or nil.
func Reference(img *compose.Image, name reference.Named) types.ImageReference {
	return &imageReference{image: img, name: name}
}

// forPlatform returns an image that is for linux and this machine's architecture unless
// something says another platform: its base, or what changes its config.
func forPlatform(img *compose.Image) *compose.Image {
	if img.Base != nil {
		return img
	}
	made := *img
	made.Change = func(config *compose.Config) error {
		config.SetPlatform(imgspecv1.Platform{OS: "linux", Architecture: runtime.GOARCH})
		if img.Change == nil {
			return nil
		}
		return img.Change(config)
	}
	return &made
}

// Transport returns a transport that is not registered.
func (r *imageReference) Transport() types.ImageTransport { return transport{} }

// StringWithinTransport returns the name of the image.
func (r *imageReference) StringWithinTransport() string {
	if r.name == nil {
		return "an image"
	}
	return r.name.String()
}

// DockerReference returns the name of the image, or nil.
func (r *imageReference) DockerReference() reference.Named { return r.name }

// PolicyConfigurationIdentity is empty: an image that is made has no identity.
func (r *imageReference) PolicyConfigurationIdentity() string { return "" }

// PolicyConfigurationNamespaces is empty, too.
func (r *imageReference) PolicyConfigurationNamespaces() []string { return []string{} }

// NewImage makes the image.
func (r *imageReference) NewImage(ctx context.Context, sys *types.SystemContext) (types.ImageCloser, error) {
	source, err := r.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	img, err := ctrimage.FromSource(ctx, sys, source)
	if err != nil {
		return nil, errors.Join(err, source.Close())
	}
	return img, nil
}

// NewImageDestination returns an error.
func (r *imageReference) NewImageDestination(context.Context, *types.SystemContext) (types.ImageDestination, error) {
	return nil, errors.New("made: an image that is made cannot be written to")
}

// DeleteImage does nothing: there is nothing where the image is.
func (r *imageReference) DeleteImage(context.Context, *types.SystemContext) error { return nil }

// NewImageSource makes the image.
func (r *imageReference) NewImageSource(ctx context.Context, _ *types.SystemContext) (types.ImageSource, error) {
	s := &imageSource{ref: r, dir: spool.Dir(r.image.TempDir), added: map[digest.Digest]madeLayer{}}
	var err error
	if s.made, err = forPlatform(r.image).MakeTo(ctx, s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// imageSource is an image that has been made. As a compose.Sink it keeps the layers.
type imageSource struct {
	ref   *imageReference
	dir   string
	made  *compose.Made
	base  []imgspecv1.Descriptor
	open  func(ctx context.Context, i int) (io.ReadCloser, error)
	added map[digest.Digest]madeLayer
}

// madeLayer is a layer in a temporary file.
type madeLayer struct {
	file *local.File
	size int64
}

// PutBase implements compose.Sink.
func (s *imageSource) PutBase(_ context.Context, layers []imgspecv1.Descriptor, open func(ctx context.Context, i int) (io.ReadCloser, error)) error {
	s.base, s.open = layers, open
	return nil
}

// PutLayer implements compose.Sink.
func (s *imageSource) PutLayer(_ context.Context, blob io.Reader) (digest.Digest, int64, error) {
	file, err := spool.Create(s.dir)
	if err != nil {
		return "", 0, err
	}
	digester := digest.Canonical.Digester()
	size, err := io.Copy(io.MultiWriter(file, digester.Hash()), blob)
	d := digester.Digest()
	if _, again := s.added[d]; err != nil || again {
		return d, size, errors.Join(err, file.Close())
	}
	s.added[d] = madeLayer{file, size}
	return d, size, nil
}

// Reference returns the reference that the source was opened with.
func (s *imageSource) Reference() types.ImageReference { return s.ref }

// Close frees the disk space of the layers.
func (s *imageSource) Close() error {
	var errs []error
	if s.made != nil {
		errs = append(errs, s.made.Close())
	}
	for d, l := range s.added {
		errs = append(errs, l.file.Close())
		delete(s.added, d)
	}
	return errors.Join(errs...)
}

// GetManifest returns the manifest, for any instance that is asked for.
func (s *imageSource) GetManifest(context.Context, *digest.Digest) ([]byte, string, error) {
	return s.made.Manifest, s.made.MediaType, nil
}

// HasThreadSafeGetBlob is true.
func (s *imageSource) HasThreadSafeGetBlob() bool { return true }

// GetBlob returns a layer or the config.
func (s *imageSource) GetBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	if info.Digest == digest.FromBytes(s.made.Config) {
		return inMemory(s.made.Config), int64(len(s.made.Config)), nil
	}
	if l, ok := s.added[info.Digest]; ok {
		return io.NopCloser(io.NewSectionReader(l.file, 0, l.size)), l.size, nil
	}
	for i, l := range s.base {
		if l.Digest == info.Digest {
			body, err := s.open(ctx, i)
			return body, l.Size, err
		}
	}
	return nil, 0, fmt.Errorf("made: the image has no blob %s", info.Digest)
}

// GetSignatures returns none.
func (s *imageSource) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) {
	return nil, nil
}

// LayerInfosForCopy is nil: the manifest has the right layers.
func (s *imageSource) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}

func inMemory(data []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(data)) }
