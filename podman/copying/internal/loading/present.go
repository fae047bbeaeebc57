package loading

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/daemon"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/podman/internal/layouts"
)

// loadedImage is an image that is sent to a daemon.
type loadedImage struct {
	*selecting.Image
	place     int               // among all that were given
	manifests []*loadedManifest // those of its documents that are no indexes
}

// loadedManifest is one that is sent to a daemon.
type loadedManifest struct {
	digest   digest.Digest
	platform imgspecv1.Platform // of the config, if this is something to run
	config   digest.Digest
	layers   []imgspecv1.Descriptor
	// diffIDs are those of the layers, one for each, nil if this is nothing to run.
	diffIDs []digest.Digest
	runs    bool
}

// read opens all sources, and reads all manifests and configs, once: what has been checked
// is what is sent.
func (l *loader) read(ctx context.Context, images []selecting.Wanted) (err error) {
	selects := l.options.Select
	selects.Op, selects.AnyPlatform = "loading", true
	if selects.Layout, err = layouts.Of(nil, l.options.DestinationCtx); err != nil {
		return err
	}
	selects.Progress = nil // Of what is sent only is told.
	if l.from, err = selecting.New(images, selects); err != nil {
		return fmt.Errorf("loading images: %w", err)
	}
	if err := l.from.Read(ctx); err != nil {
		return err
	}
	for place, img := range l.from.Images {
		if err := l.readConfigs(ctx, place, img); err != nil {
			return err
		}
	}
	return nil
}

// readConfigs finds out what of an image can be run.
func (l *loader) readConfigs(ctx context.Context, place int, img *selecting.Image) error {
	if err := l.from.FetchConfigs(ctx, img); err != nil {
		return err
	}
	content := l.from.ContentOf(img)
	reason := l.from.Layout.LeftOut(content)
	l.done.Images = append(l.done.Images, Result{Image: img.Wanted, Skipped: reason, Warnings: img.Warnings})
	if reason != "" {
		return nil
	}
	loaded := &loadedImage{Image: img, place: place}
	for _, document := range img.Documents {
		if document.IsIndex() {
			continue
		}
		m := &loadedManifest{digest: document.Descriptor.Digest, config: document.Config.Digest, layers: document.Layers}
		config, err := image.ParseConfig(m.config.String(), content.Configs[m.config])
		if err == nil && config.HasRootFS && len(config.DiffIDs) == len(m.layers) && config.Platform.OS != image.UnknownPlatform {
			m.diffIDs, m.platform, m.runs = config.DiffIDs, config.Platform, true
		}
		loaded.manifests = append(loaded.manifests, m)
	}
	l.images = append(l.images, loaded)
	return nil
}

// leaveOut decides which layers are not sent. A layer is sent for the sake of one image
// that needs it, even if others do not: a daemon knows a layer by all that is below it.
func (l *loader) leaveOut(present *daemon.Present) {
	chains := map[digest.Digest]bool{}
	for _, layers := range present.Chains {
		for _, id := range identity.ChainIDs(slices.Clone(layers)) {
			chains[id] = true
		}
	}
	there, needed, sizes := map[digest.Digest]bool{}, map[digest.Digest]bool{}, map[digest.Digest]int64{}
	for _, img := range l.images {
		for _, m := range img.manifests {
			ids := identity.ChainIDs(slices.Clone(m.diffIDs))
			for n, layer := range m.layers {
				sizes[layer.Digest] = layer.Size
				switch {
				case present.Manifests[m.digest]: // And with it the layer as it is.
					there[layer.Digest] = true
				case n >= len(ids) || !chains[ids[n]]:
					needed[layer.Digest] = true
				}
			}
		}
	}
	l.leftOut = map[digest.Digest]bool{}
	for d, size := range sizes {
		if there[d] || !needed[d] {
			l.leftOut[d] = true
			l.done.LeftOut += max(size, 0)
		}
	}
}

// ids returns by what a daemon may know the image.
func (i *loadedImage) ids(kind daemon.Kind) []digest.Digest {
	if kind.Containerd {
		return []digest.Digest{i.Digest}
	}
	var ids []digest.Digest
	for _, m := range i.manifests {
		if m.runs {
			ids = append(ids, m.config)
		}
	}
	return ids
}

// complete fails if a daemon has not got all of an image that could be run.
func (i *loadedImage) complete(kind daemon.Kind, told *daemon.Inspected) error {
	for _, m := range i.manifests {
		switch {
		case !m.runs:
		case kind.Containerd && len(told.Manifests) > 0 && !told.Runs(m.digest):
			return fmt.Errorf("layers of its manifest %s are missing", m.digest)
		case !kind.Containerd && told.ID == m.config && !slices.Equal(told.RootFS.Layers, m.diffIDs):
			return errors.New("its layers are others")
		}
	}
	return nil
}

// lacksBlobs reports whether a daemon can run an image, but not send it on.
func (i *loadedImage) lacksBlobs(told *daemon.Inspected) bool {
	return slices.ContainsFunc(i.manifests, func(m *loadedManifest) bool { return m.runs && told.LacksBlobs(m.digest) })
}
