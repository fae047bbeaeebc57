package layout

import (
	"maps"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// noteLeftOut has index.json list the layers of an image that are in other archives, and removes
// those that have come with the image.
func (t *ociTable) noteLeftOut(img *image.Image) {
	now := maps.Clone(t.leftOut)
	if now == nil {
		now = image.LeftOut{}
	}
	for _, document := range img.Documents {
		for _, l := range document.Layers {
			if elsewhere, ok := document.LeftOut[l.Digest]; ok {
				now[l.Digest] = elsewhere
			} else if !document.Absent[l.Digest] {
				delete(now, l.Digest)
			}
		}
	}
	if now.String() == t.leftOut.String() {
		return
	}
	t.leftOut = now
	contents := t.contents.change()
	if len(now) == 0 {
		delete(contents.Annotations, image.AnnotationLeftOut)
		return
	}
	if contents.Annotations == nil {
		contents.Annotations = map[string]string{}
	}
	contents.Annotations[image.AnnotationLeftOut] = now.String()
}
