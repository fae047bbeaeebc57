package selecting

import (
	"iter"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// Fail records why an image cannot be taken, and returns that if it ends the others
// too.
func (s *Selection) Fail(img *Image, err error) error { return s.Fetcher.Fail(img.fetched, err) }

// Err returns why an image has failed, or nil.
func (s *Selection) Err(img *Image) error { return s.Fetcher.Err(img.fetched) }

// Good returns the images that have not failed.
func (s *Selection) Good() iter.Seq[*Image] {
	return func(yield func(*Image) bool) {
		for _, img := range s.Images {
			if s.Err(img) == nil && !yield(img) {
				return
			}
		}
	}
}

// AnyGood reports whether an image has not failed, and AnyFailed whether one has.
func (s *Selection) AnyGood() bool {
	for range s.Good() {
		return true
	}
	return false
}

// AnyFailed reports whether an image has failed.
func (s *Selection) AnyFailed() bool {
	for _, img := range s.Images {
		if s.Err(img) != nil {
			return true
		}
	}
	return false
}

// faults returns why images cannot be taken, or nil if all can.
func (s *Selection) faults() error {
	var failed []*errdef.ImageError
	for _, img := range s.Images {
		if err, ok := s.Err(img).(*errdef.ImageError); ok {
			failed = append(failed, err)
		}
	}
	switch len(failed) {
	case 0:
		return nil
	case 1:
		return failed[0]
	}
	return &errdef.ImagesError{Images: failed, Of: len(s.Images)}
}
