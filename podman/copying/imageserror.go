package copying

import (
	"fmt"
	"strings"
)

// ImagesError says of several images why they cannot be saved.
type ImagesError struct {
	// Images are those, in the order in which they were given.
	Images []*ImageError
	// Of is how many images were to be saved.
	Of int
}

// Error names ten of the images at most.
func (e *ImagesError) Error() string {
	const enough = 10
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d images cannot be saved", len(e.Images), e.Of)
	for i, img := range e.Images {
		if i == enough {
			fmt.Fprintf(&b, "; and %d more", len(e.Images)-enough)
			break
		}
		b.WriteString("; " + img.Error())
	}
	return b.String()
}

// Unwrap returns the errors of the images.
func (e *ImagesError) Unwrap() []error {
	errs := make([]error, len(e.Images))
	for i, img := range e.Images {
		errs[i] = img
	}
	return errs
}

// faults returns why images cannot be saved, or nil if all can.
func (s *saver) faults() error {
	var failed []*ImageError
	for _, img := range s.images {
		if err, ok := s.fetcher.Err(img.fetched).(*ImageError); ok {
			failed = append(failed, err)
		}
	}
	switch len(failed) {
	case 0:
		return nil
	case 1:
		return failed[0]
	}
	return &ImagesError{Images: failed, Of: len(s.images)}
}

// endsReading reports whether the error of one image tells that the others had better
// not be tried: it is that of a machine that does not answer, which has been waited
// for, or that of this one.
func endsReading(err error) bool {
	return isLocal(err) || retryPolicy(0).Judge(err).Retry
}
