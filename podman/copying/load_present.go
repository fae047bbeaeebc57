package copying

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
)

// loadedImage is an image that is sent to a daemon.
type loadedImage struct {
	SaveImage
	place     int               // among all that were given
	digest    digest.Digest     // of the manifest or index
	documents []*image.Document // in the order in which they refer to each other, that one last
	manifests []*loadedManifest // those of them that are no indexes
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

// read reads all manifests and configs.
func (l *loader) read(ctx context.Context, images []SaveImage) error {
	options := l.saveOptions()
	options.LeaveOut = nil
	s, err := newSaver(l.policy, images, options)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.read(ctx); err != nil {
		return err
	}
	for place, saved := range s.images {
		if err := s.fetchConfigs(ctx, saved); err != nil {
			return err
		}
		content := s.contentOf(saved)
		reason := s.layout.LeftOut(content)
		l.done.Images = append(l.done.Images, LoadedImage{SaveImage: saved.SaveImage, Skipped: reason, Warnings: saved.warnings})
		if reason != "" {
			continue
		}
		img := &loadedImage{SaveImage: saved.SaveImage, place: place, digest: saved.digest, documents: saved.documents}
		for _, document := range saved.documents {
			if document.IsIndex() {
				continue
			}
			m := &loadedManifest{digest: document.Descriptor.Digest, config: document.Config.Digest, layers: document.Layers}
			config, err := image.ParseConfig(m.config.String(), content.Configs[m.config])
			if err == nil && config.HasRootFS && len(config.DiffIDs) == len(m.layers) && config.Platform.OS != image.UnknownPlatform {
				m.diffIDs, m.platform, m.runs = config.DiffIDs, config.Platform, true
			}
			img.manifests = append(img.manifests, m)
		}
		l.images = append(l.images, img)
	}
	return nil
}

// fetchConfigs reads the configs of an image.
func (s *saver) fetchConfigs(ctx context.Context, img *savedImage) error {
	for _, blob := range img.needed {
		if blob.Kind != image.KindConfig {
			continue
		}
		if !blob.Fetched() {
			if err := s.fetcher.Fetch(ctx, blob); err != nil {
				return err
			}
		}
		if err := blob.Await(ctx); err != nil {
			return err
		}
	}
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
		return []digest.Digest{i.digest}
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
