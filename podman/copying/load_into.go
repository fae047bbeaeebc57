package copying

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

// LoadIntoOptions are the options of LoadInto; the zero value will do.
type LoadIntoOptions struct {
	// SourceCtx is for reading the images, DestinationCtx for where they go.
	SourceCtx, DestinationCtx *types.SystemContext
	// Platform chooses from images that are an index. By default that is this machine's.
	Platform *imgspecv1.Platform
	// Progress, if not nil, is told of what is Started, Read and Finished. It is called
	// concurrently, and must return soon.
	Progress func(Event)
}

// LoadInto puts images, usually those of archives, where containers/image can put them one
// by one and layers are kept for all, such as the storage of podman and CRI-O: that leaves
// out layers that are there. place returns what an image gets as its reference: for each
// of its names or, if it has none, for the digest of its config. The ID of an image that
// LoadInto returns is that digest.
//
// Every manifest and config is read, and accepted by the policy, before anything is copied.
func LoadInto(ctx context.Context, policyContext *signature.PolicyContext, images []SaveImage, place func(name reference.NamedTagged, config digest.Digest) (types.ImageReference, error), options *LoadIntoOptions) (*Loaded, error) {
	if options == nil {
		options = &LoadIntoOptions{}
	}
	platform := imgspecv1.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}
	if options.Platform != nil {
		platform = *options.Platform
	}
	l := &loader{policy: policyContext, done: &Loaded{}, options: LoadOptions{
		SourceCtx: options.SourceCtx, DestinationCtx: options.DestinationCtx, Platforms: []imgspecv1.Platform{platform},
	}}
	if err := l.read(ctx, slices.Clone(images)); err != nil {
		return l.done, ofLoad(err)
	}
	if len(l.images) == 0 {
		return l.done, l.nothing()
	}
	how := &copy.Options{DestinationCtx: options.DestinationCtx}
	for _, img := range l.images {
		how.SourceCtx = choosing(cmp.Or(img.SourceCtx, options.SourceCtx), platform)
		if err := l.copyInto(ctx, img, place, how, options.Progress); err != nil {
			return l.done, &LoadError{Source: img.Source, Err: err}
		}
	}
	return l.done, nil
}

// copyInto copies an image once for each of its names.
func (l *loader) copyInto(ctx context.Context, img *loadedImage, place func(reference.NamedTagged, digest.Digest) (types.ImageReference, error), how *copy.Options, progress func(Event)) error {
	chosen := slices.IndexFunc(img.manifests, func(m *loadedManifest) bool { return m.runs })
	if chosen < 0 {
		return errors.New("it has no manifest of an image")
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
		if _, err := CopyWith(ctx, l.policy, to, img.Source, how, CopyExtras{Progress: progress}); err != nil {
			return err
		}
	}
	l.done.Images[img.place].ID = config
	return nil
}

// tags returns the names of an image that have a tag and no digest.
func (i *loadedImage) tags() []reference.NamedTagged {
	var tags []reference.NamedTagged
	for _, name := range i.AllNames() {
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			continue // A free name, which Docker makes of what it can.
		}
		_, digested := named.(reference.Digested)
		if tagged, ok := named.(reference.NamedTagged); ok && !digested {
			tags = append(tags, tagged)
		}
	}
	return tags
}

// nothing returns the error of images of which none could be run.
func (l *loader) nothing() error {
	first := l.done.Images[0]
	return &LoadError{Source: first.Source, Err: fmt.Errorf("there is nothing to load: %s", first.Skipped)}
}
