package copying

import (
	"errors"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
)

// leaveOut takes account of what an archive is to be without. It fails if it is
// nothing without that.
func (s *saver) leaveOut() (err error) {
	o := &s.options
	if s.layout.Unpacks() && (o.KeepIndex || o.SkipNonDistributable || o.LeaveOut != nil) {
		return errors.New("an archive of this kind has no index, and holds all layers of an image or none; write an image-archive")
	}
	if o.Without != nil && s.layout.Unpacks() {
		return errors.New("an archive of this kind holds all layers of an image: what other archives have can be left out of an image-archive only")
	}
	if o.Without != nil && o.existing != nil {
		return errors.New("what other archives have can be left out of a new archive only: one that is added to does not store again what it has")
	}
	if o.KeepIndex && o.AllPlatforms {
		return errors.New("an index of which all is saved is kept anyway")
	}
	if o.SkipDockerManifest {
		s.layout, err = layout.WithoutDocker(s.layout)
	}
	return err
}

// leavesOut reports whether a layer is not wanted.
func (s *saver) leavesOut(layer imgspecv1.Descriptor) bool {
	return s.options.SkipNonDistributable && image.IsNonDistributable(layer.MediaType) ||
		s.options.LeaveOut != nil && s.options.LeaveOut(layer)
}

// markLeftOut has the archive be without the layers of a document that are not wanted.
func markLeftOut(document *image.Document, leavesOut func(imgspecv1.Descriptor) bool) {
	for _, l := range document.Layers {
		if !leavesOut(l) {
			continue
		}
		if document.Absent == nil {
			document.Absent = map[digest.Digest]bool{}
		}
		document.Absent[l.Digest] = true
	}
}
