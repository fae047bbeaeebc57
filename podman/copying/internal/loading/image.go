package loading

import (
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"

	"github.com/dockerarchive/dockerarchive/internal/daemon"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
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

// ids returns the IDs by which a daemon may know the image.
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

// needs returns all that an image leads to and that its source has.
func (i *loadedImage) needs() []digest.Digest {
	var all []digest.Digest
	for _, document := range i.Documents {
		all = append(all, document.Descriptor.Digest)
		if document.Config != nil {
			all = append(all, document.Config.Digest)
		}
		for _, layer := range document.Layers {
			if !document.Absent[layer.Digest] {
				all = append(all, layer.Digest)
			}
		}
	}
	return all
}

// lacking returns how many layers the source of an image was saved without.
func (i *loadedImage) lacking() int {
	n := 0
	for _, document := range i.Documents {
		for _, layer := range document.Layers {
			if _, ok := i.Lacks(layer.Digest); ok {
				n++
			}
		}
	}
	return n
}

// tags returns the names of an image that have a tag and no digest.
func (i *loadedImage) tags() []reference.NamedTagged {
	var tags []reference.NamedTagged
	for _, name := range i.AllNames() {
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			continue // A free name, which Docker turns into a tag if it can.
		}
		_, digested := named.(reference.Digested)
		if tagged, ok := named.(reference.NamedTagged); ok && !digested {
			tags = append(tags, tagged)
		}
	}
	return tags
}

// others returns the names of an image that have a tag, and that containers/image has no
// grammar for.
func (i *loadedImage) others() (names []string) {
	for _, name := range i.AllNames() {
		_, err := reference.ParseNormalizedNamed(name)
		if _, _, tagged := naming.SplitTag(name); err != nil && tagged {
			names = append(names, name)
		}
	}
	return names
}

// unkept returns the error for a name that an image would lose.
func unkept(name, where string) error {
	return fmt.Errorf("%s cannot have an image called %s: rename it in the archive (docker-archive rename ARCHIVE @N NEW)", where, printable.String(name))
}
