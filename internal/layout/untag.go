package layout

import (
	"maps"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

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
