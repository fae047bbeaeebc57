package making

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	ctrimage "go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/internal/stall"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// Base is an image of any transport as a base for others. It implements compose.StoredBase,
// compose.RemoteBase, compose.RandomBase and compose.MadeUpBase, and may be used concurrently.
type Base struct {
	// RetryTimes is how often reading a blob is tried again, or resumed where it broke
	// off, after an error that may pass, such as a registry's that has too many requests.
	// It must not be changed while a blob is read.
	RetryTimes int

	source    types.ImageSource
	blobs     *sources.Blobs     // of source
	client    *registries.Client // which reads ranges of them
	instance  *digest.Digest     // of an index
	raw       []byte
	mimeType  string
	fetcher   *fetching.Fetcher // reads blobs in ranges, and on where they broke off
	image     *fetching.Image
	converted *converted    // an image of Docker's schema 1, else nil
	delay     time.Duration // before every further attempt, if it is not that of the policy
}

// OpenBase opens an image, or from an index the one for the platform that sys asks for, if
// policy allows it; a nil policy is not asked. An image of Docker's schema 1 is converted to
// schema 2; its layers are read into temporary files for that. A PolicyContext must not be used
// concurrently. The caller must close the image when the image built on it has been made and, if
// that is a Reference, copied.
func OpenBase(ctx context.Context, sys *types.SystemContext, policy *signature.PolicyContext, ref types.ImageReference) (b *Base, err error) {
	if ref.Transport().Name() != docker.Transport.Name() {
		b, err = openBase(ctx, sys, policy, ref)
	} else {
		err = stall.Ask(ctx, untold, func(ctx context.Context, _ *stall.Watch) error {
			b, err = openBase(ctx, sys, policy, ref)
			return err
		})
	}
	if err != nil || !isSchema1(b.mimeType) {
		return b, err
	}
	dir := ""
	if sys != nil {
		dir = sys.BigFilesTemporaryDir
	}
	if b.converted, err = convert(ctx, b.raw, dir, b.Blob); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: converting Docker's schema 1: %w", transports.ImageName(ref), err), b.Close())
	}
	b.raw, b.mimeType = b.converted.manifest, manifest.DockerV2Schema2MediaType
	return b, nil
}

// untold is for callers that report no waiting for a registry.
func untold(string) {}

func openBase(ctx context.Context, sys *types.SystemContext, policy *signature.PolicyContext, ref types.ImageReference) (*Base, error) {
	reopen := func(ctx context.Context) (types.ImageSource, error) {
		return ref.NewImageSource(ctx, sources.Opening(sys, ref, false))
	}
	source, err := reopen(ctx)
	if err != nil {
		return nil, err
	}
	client := registries.New(sys)
	b := &Base{source: sources.Typed(ctx, source), blobs: sources.New(source, client), client: client}
	b.blobs.Reopen = reopen
	b.fetcher = fetching.New(fetching.Options{
		Jobs: 1, Hosts: fetching.HostsOf(ctx), Busy: sources.IsBusy,
		Backoff: func() *retry.Backoff { return sources.Retries(b.RetryTimes, b.delay).Backoff() },
	})
	b.image = b.fetcher.AddImage(b.blobs, "", nil)
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

// correct gives the layers of a made-up manifest their true types: containers/image
// calls all of them compressed.
func (b *Base) correct(ctx context.Context) error {
	document, err := image.ParseDocument(b.raw, b.mimeType)
	if err != nil || document.Config == nil || !b.MadeUp() {
		return nil // The error of reading it says what is wrong.
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
func (b *Base) Close() error {
	b.blobs.Close()
	b.client.Close()
	err := b.source.Close()
	if b.converted != nil {
		err = errors.Join(err, b.converted.close())
	}
	return err
}

// Manifest implements compose.Base.
func (b *Base) Manifest(context.Context) ([]byte, string, error) { return b.raw, b.mimeType, nil }

// MadeUp implements compose.MadeUpBase. It is true for transports that make up missing
// manifests, although some archives have theirs.
func (b *Base) MadeUp() bool {
	return b.converted != nil || slices.Contains([]string{"docker-archive", "docker-daemon", "tarball"}, b.source.Reference().Transport().Name())
}

// Remote implements compose.RemoteBase.
func (b *Base) Remote() bool {
	if b.converted != nil {
		return false // Its layers have been read.
	}
	local := []string{"containers-storage", "dir", "docker-archive", "image-archive", "oci", "oci-archive"}
	return !slices.Contains(local, b.source.Reference().Transport().Name())
}

// At implements compose.RandomBase, for archives.
func (b *Base) At(ctx context.Context, d imgspecv1.Descriptor) (io.ReaderAt, int64, digest.Digest, error) {
	archived, ok := b.source.(interface {
		Stored(context.Context, digest.Digest) (*io.SectionReader, digest.Digest, error)
	})
	if !ok {
		return nil, 0, "", nil
	}
	at, stored, err := archived.Stored(ctx, d.Digest)
	if at == nil || err != nil {
		return nil, 0, "", err
	}
	return at, at.Size(), stored, nil
}

// Layers implements compose.StoredBase.
func (b *Base) Layers(ctx context.Context) ([]imgspecv1.Descriptor, error) {
	if b.converted != nil {
		return nil, nil
	}
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

// Blob implements compose.Base. A read that fails for a reason that may pass is tried
// again, and resumed, RetryTimes times.
func (b *Base) Blob(ctx context.Context, d imgspecv1.Descriptor) (io.ReadCloser, error) {
	if b.converted != nil {
		return b.converted.blob(d.Digest)
	}
	return b.fetcher.Open(ctx, b.image, d)
}
