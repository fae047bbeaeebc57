package layout

import (
	"maps"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// otherwiseListed returns the digests that index.json lists under other names
// than these, or without one.
func (t *ociTable) otherwiseListed(names map[string]bool) map[digest.Digest]bool {
	listed := map[digest.Digest]bool{}
	for _, d := range t.contents.value.Manifests {
		if !names[t.nameOf(d.value)] {
			listed[d.value.Digest] = true
		}
	}
	return listed
}

// untag takes the name from a descriptor, which keeps everything else.
func (t *ociTable) untag(d *kept[v1.Descriptor]) {
	changed := d.change()
	changed.Annotations = maps.Clone(changed.Annotations)
	for _, name := range []string{containerdName, image.AnnotationTag, v1.AnnotationRefName} {
		delete(changed.Annotations, name)
	}
	if len(changed.Annotations) == 0 {
		changed.Annotations = nil
	}
	t.known[knownAs(changed.Digest, "")] = struct{}{}
}
