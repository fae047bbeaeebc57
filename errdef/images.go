package errdef

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// ImageError is an error of one image of several.
type ImageError struct {
	// Op is what was done with it: saving, pushing, loading or opening.
	Op string
	// Image is what it is called, with its transport.
	Image string
	Err   error
}

// Error names the image.
func (e *ImageError) Error() string {
	return fmt.Sprintf("%s %s: %v", e.Op, printable.String(e.Image), e.Err)
}

// Unwrap returns the error without the name.
func (e *ImageError) Unwrap() error { return e.Err }

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

// MissingError means that a source lacks some manifests that an index lists. It is an
// fs.ErrNotExist.
type MissingError struct {
	// Missing are their digests.
	Missing []string
}

// Error lists what is missing.
func (e *MissingError) Error() string {
	return fmt.Sprintf("its source has not got all that its index lists: %s", printable.String(strings.Join(e.Missing, ", ")))
}

// Unwrap makes it an fs.ErrNotExist.
func (e *MissingError) Unwrap() error { return fs.ErrNotExist }
