package selecting

import (
	"errors"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// checkOptions fails if the options contradict each other or the layout.
func (s *Selection) checkOptions() error {
	o, one := &s.options, s.Layout.Unpacks() // an archive of Docker's kind, with one platform of an image
	switch {
	case one && (o.KeepIndex || o.SkipNonDistributable || o.LeaveOut != nil):
		return errors.New("an archive of this kind has no index, and holds all layers of an image or none; write an image-archive")
	case one && o.Without != nil:
		return errors.New("an archive of this kind holds all layers of an image: what other archives have can be left out of an image-archive only")
	case o.KeepIndex && o.AllPlatforms:
		return errors.New("an index is kept anyway if all of it is saved")
	case one && (o.AllPlatforms || len(o.Platforms) > 1):
		return errors.New("an archive of this kind holds one platform of an image; choose one, or write an image-archive")
	case o.AllPlatforms && len(o.Platforms) > 0:
		return errors.New("either all platforms or some can be saved, not both")
	case one && o.Referrers != nil:
		return errors.New("an archive of this kind has no manifests for referrers to be about; write an image-archive")
	}
	return nil
}

// leavesOut reports whether a layer is not wanted.
func (s *Selection) leavesOut(layer imgspecv1.Descriptor) bool {
	return s.options.SkipNonDistributable && image.IsNonDistributable(layer.MediaType) ||
		s.options.LeaveOut != nil && s.options.LeaveOut(layer)
}
