package making

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	ctrimage "go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/stall"
)

// Base is an image of any transport as a base for others. It implements
// compose.StoredBase and compose.MadeUpBase, and may be used concurrently.
type Base struct {
	// RetryTimes is how often reading a blob is tried again, or resumed where it broke
	// off, after an error that may pass, such as a registry's that has too many requests.
	// It must not be changed while a blob is read.
	RetryTimes int

	source   types.ImageSource
	instance *digest.Digest // of an index
	raw      []byte
	mimeType string
	serial   *sync.Mutex   // held while a blob is read, if source allows only one at a time
	delay    time.Duration // before the second attempt, if it is not that of the policy
}

// OpenBase opens an image, of an index the one for the platform that sys asks for,
// if policy allows it; a nil policy is not asked. A PolicyContext must not be used
// concurrently. The caller must close the image when what is built on it has been made
// and, if that is a Reference, copied.
func OpenBase(ctx context.Context, sys *types.SystemContext, policy *signature.PolicyContext, ref types.ImageReference) (b *Base, err error) {
	if ref.Transport().Name() != docker.Transport.Name() {
		return openBase(ctx, sys, policy, ref)
	}
	err = stall.Ask(ctx, untold, func(ctx context.Context, _ *stall.Watch) error {
		b, err = openBase(ctx, sys, policy, ref)
		return err
	})
	return b, err
}

// untold is for whoever has nobody to tell that a registry is waited for.
func untold(string) {}

func openBase(ctx context.Context, sys *types.SystemContext, policy *signature.PolicyContext, ref types.ImageReference) (*Base, error) {
	source, err := ref.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	b := &Base{source: source}
	if !source.HasThreadSafeGetBlob() {
		b.serial = new(sync.Mutex)
	}
	if err := b.choose(ctx, sys, policy); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", transports.ImageName(ref), err), source.Close())
	}
	return b, nil
}

// choose reads the manifest, of an index that of one of its images.
func (b *Base) choose(ctx context.Context, sys *types.SystemContext, policy *signature.PolicyContext) (err error) {
	chosen := ctrimage.UnparsedInstance(b.source, nil)
	if b.raw, b.mimeType, err = chosen.Manifest(ctx); err != nil {
		return err
	}
	if manifest.MIMETypeIsMultiImage(b.mimeType) {
		list, err := manifest.ListFromBlob(b.raw, b.mimeType)
		if err != nil {
			return err
		}
		d, err := list.ChooseInstance(sys)
		if err != nil {
			return err
		}
		b.instance = &d
		chosen = ctrimage.UnparsedInstance(b.source, &d)
		if b.raw, b.mimeType, err = chosen.Manifest(ctx); err != nil {
			return err
		}
	}
	if policy != nil {
		if _, err := policy.IsRunningImageAllowed(ctx, chosen); err != nil {
			return err
		}
	}
	return b.correct(ctx)
}

// correct has a manifest that was made up say what the layers are: that of
// containers/image calls all of them compressed.
func (b *Base) correct(ctx context.Context) error {
	document, err := image.ParseDocument(b.raw, b.mimeType)
	if err != nil || document.Config == nil || !b.MadeUp() {
		return nil // Whoever reads it says what is wrong.
	}
	body, err := b.Blob(ctx, *document.Config)
	if err != nil {
		return fmt.Errorf("reading config %s: %w", document.Config.Digest, err)
	}
	defer body.Close()
	config, err := io.ReadAll(io.LimitReader(body, image.MaxDocument))
	if err != nil {
		return fmt.Errorf("reading config %s: %w", document.Config.Digest, err)
	}
	b.raw = image.Truthful(b.raw, config)
	return nil
}

// Close closes the image.
func (b *Base) Close() error { return b.source.Close() }

// Manifest implements compose.Base.
func (b *Base) Manifest(context.Context) ([]byte, string, error) { return b.raw, b.mimeType, nil }

// MadeUp implements compose.MadeUpBase. It is true of transports that make manifests up
// for what has none, although some archives have theirs.
func (b *Base) MadeUp() bool {
	return slices.Contains([]string{"docker-archive", "docker-daemon", "tarball"}, b.source.Reference().Transport().Name())
}

// Layers implements compose.StoredBase.
func (b *Base) Layers(ctx context.Context) ([]imgspecv1.Descriptor, error) {
	infos, err := b.source.LayerInfosForCopy(ctx, b.instance)
	if err != nil || infos == nil {
		return nil, err
	}
	layers := []imgspecv1.Descriptor{}
	for _, info := range infos {
		layers = append(layers, imgspecv1.Descriptor{MediaType: info.MediaType, Digest: info.Digest, Size: info.Size, URLs: info.URLs, Annotations: info.Annotations})
	}
	return layers, nil
}

// open opens a blob, of a registry such that it fails when nothing comes.
func (b *Base) open(ctx context.Context, d imgspecv1.Descriptor) (io.ReadCloser, error) {
	ref := b.source.Reference()
	if ref.Transport().Name() != docker.Transport.Name() {
		return b.openBlob(ctx, d)
	}
	return stall.Open(ctx, reference.Domain(ref.DockerReference()), untold, func(ctx context.Context) (io.ReadCloser, error) { return b.openBlob(ctx, d) })
}

func (b *Base) openBlob(ctx context.Context, d imgspecv1.Descriptor) (io.ReadCloser, error) {
	unlock := func() {}
	if b.serial != nil {
		b.serial.Lock()
		unlock = b.serial.Unlock
	}
	body, _, err := b.source.GetBlob(ctx, manifest.BlobInfoFromOCI1Descriptor(d), none.NoCache)
	if err != nil {
		unlock()
		return nil, err
	}
	return &lockedBody{ReadCloser: body, unlock: sync.OnceFunc(unlock)}, nil
}

// lockedBody is a blob while whose reading no other can be read.
type lockedBody struct {
	io.ReadCloser
	unlock func()
}

// Close closes the blob, and lets others be read.
func (b *lockedBody) Close() error {
	defer b.unlock()
	return b.ReadCloser.Close()
}
