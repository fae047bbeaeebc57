package loading

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/copying/internal/imagecopy"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
	"github.com/dockerarchive/dockerarchive/progress"
)

// Into copies images one by one. place returns the reference of an image for each of
// its names or, if it has none, for the digest of its config.
func Into(ctx context.Context, images []selecting.Wanted, place func(name reference.NamedTagged, config digest.Digest) (types.ImageReference, error), o Options) (*Done, error) {
	platform := imgspecv1.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}
	if len(o.Select.Platforms) > 0 {
		platform = o.Select.Platforms[0]
	}
	o.Select.Platforms = []imgspecv1.Platform{platform}
	l := newLoader(o)
	defer l.close()
	if err := l.read(ctx, slices.Clone(images)); err != nil {
		return l.done, err
	}
	if len(l.images) == 0 {
		return l.done, l.nothing()
	}
	// Images that lack layers come after those that may bring them.
	slices.SortStableFunc(l.images, func(a, b *loadedImage) int { return cmp.Compare(a.lacking(), b.lacking()) })
	how := &copy.Options{DestinationCtx: o.DestinationCtx, MaxParallelDownloads: uint(max(o.Select.Jobs, 0))}
	for _, img := range l.images {
		how.SourceCtx = sources.Choosing(cmp.Or(img.SourceCtx, o.Select.SourceCtx), platform)
		if err := l.copyInto(ctx, img, place, how); err != nil {
			return l.done, l.from.ErrorOf(img.Image, err)
		}
	}
	return l.done, nil
}

// copyInto copies an image once for each of its names.
func (l *loader) copyInto(ctx context.Context, img *loadedImage, place func(reference.NamedTagged, digest.Digest) (types.ImageReference, error), how *copy.Options) error {
	chosen := slices.IndexFunc(img.manifests, func(m *loadedManifest) bool { return m.runs })
	if chosen < 0 {
		return errors.New("it has no manifest of an image")
	}
	if others := img.others(); len(others) > 0 {
		return unkept(others[0], "what it is loaded into")
	}
	config := img.manifests[chosen].config
	names := img.tags()
	if len(names) == 0 {
		names = []reference.NamedTagged{nil}
	}
	for _, name := range names {
		to, err := place(name, config)
		if err != nil {
			return err
		}
		job := imagecopy.Job{Policy: l.options.Select.Policy, Dest: to, Source: img.Unchanged(), Options: how, Progress: l.options.Select.Progress}
		retried := func(err error) {
			l.options.Select.Progress(progress.Event{Kind: progress.Retried, Image: transports.ImageName(img.Source), Err: err})
		}
		err = l.options.Select.Retries.Do(ctx, retried, func() error {
			_, err := imagecopy.Copy(ctx, job)
			return err
		})
		if err != nil {
			return err
		}
	}
	l.done.Images[img.place].ID = config
	return nil
}
