// Package errdef defines the errors of reading and writing image archives that a
// program may want to tell apart. All packages of this module return them, wrapped in
// the operation and its object; errors.Is and errors.As find them. Their messages show
// names as they are, with non-printing characters escaped.
//
// An archive that is at fault gives one of three errors. ErrNoImageArchive: it is none.
// ErrDamaged: it is one, but its content is not what it should be. ErrLimit: it may be
// one, but nobody's computer should have to read it. Everything else is not the
// archive's fault. Content that is not in an archive, and need not be, is
// fs.ErrNotExist.
package errdef

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// Errors of reading an archive.
var (
	// ErrNoImageArchive means that something is not an archive of images at all:
	// no tar archive, or one without a table of contents.
	ErrNoImageArchive = errors.New("not an archive of images")
	// ErrDamaged means that an archive is cut short or contradicts its format or
	// itself: an invalid header or document, a link that leads out of it, content
	// that is not what its digest says. Every MismatchError is an ErrDamaged.
	ErrDamaged = errors.New("damaged archive")
	// ErrLimit means that an archive asks for more memory or time than any real
	// one needs.
	ErrLimit = errors.New("limit exceeded")
)

// Errors of writing an archive.
var (
	// ErrNotEmpty means that the target holds data, which is left untouched.
	ErrNotEmpty = errors.New("file exists and is not empty; remove it or choose another name")
	// ErrAppeared means that another program has put another, empty, file in the place
	// of the target while the archive was written. It is left untouched.
	ErrAppeared = errors.New("another file has appeared there meanwhile; remove it or choose another name")
	// ErrBusy means that another program is writing the target in place, and it cannot
	// be replaced.
	ErrBusy = errors.New("another process is writing to it")
	// ErrTerminal means that the target is a terminal.
	ErrTerminal = errors.New("refusing to write an archive to a terminal; redirect it to a file or a pipe")
)

// MismatchError means that content is not what its digest says. It is an
// ErrDamaged.
type MismatchError struct {
	Name      string // of the archive's entry, or what else the content is known by
	Want, Got digest.Digest
}

// Error names the entry and both digests.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s is damaged: its digest should be %s but is %s", printable.String(e.Name), printable.String(e.Want.String()), e.Got)
}

// Is makes every MismatchError an ErrDamaged.
func (e *MismatchError) Is(target error) bool { return target == ErrDamaged }

// NoImageError means that an archive has no such image.
type NoImageError struct {
	// Wanted is the name that was asked for, or @N for the position N; empty if
	// any image would have done but there is none.
	Wanted string
	// Available are the images that there are, each as its position and names:
	// "@0 example.com/app:1 example.com/app:latest".
	Available []string
}

// Error lists the images that there are.
func (e *NoImageError) Error() string {
	switch {
	case e.Wanted == "":
		return "no image is in the archive"
	case strings.HasPrefix(e.Wanted, "@"):
		return fmt.Sprintf("no image at position %s; there is %s", printable.String(e.Wanted), list(e.Available))
	}
	return fmt.Sprintf("no image is named %s; there is %s", printable.String(e.Wanted), list(e.Available))
}

// LeftOut is a layer that an archive is without on purpose.
type LeftOut struct {
	// Digest is that of the layer, Size its size in bytes, as its manifest has them; -1
	// if the size is not known.
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	// Archive is the name of the archive that has it or, if there is a delta, the
	// layers it is made from, as told by the archive without it.
	Archive string `json:"archive"`
	// Delta is the digest of the blob that makes the layer from others, empty if there is
	// none, DeltaSize its size in bytes, and From what it is made from.
	Delta     digest.Digest `json:"delta,omitempty"`
	DeltaSize int64         `json:"deltaSize,omitempty"`
	From      []DeltaBase   `json:"from,omitempty"`
	// Why is why the layer is not made of the layers at hand though they could be those: the
	// delta is damaged or too new, or a layer is there in another form. Empty if they are just
	// not there.
	Why string `json:"why,omitempty"`
}

// DeltaBase is a layer that another one is made from, as the archive with the delta says.
type DeltaBase struct {
	// Archive is the name of an archive that has it.
	Archive string `json:"archive"`
	// Digest is that of the layer as it was there. The very same is needed if Exact is
	// set, else any layer with the same diff ID.
	Digest digest.Digest `json:"digest"`
	DiffID digest.Digest `json:"diffID"`
	Exact  bool          `json:"exact,omitempty"`
}

// LeftOutError means that layers are needed that an archive was saved without. It is an
// fs.ErrNotExist.
type LeftOutError struct{ Layers []LeftOut }

// Error names ten of the layers at most, and where they are.
func (e *LeftOutError) Error() string {
	const enough = 10
	var b strings.Builder
	fmt.Fprintf(&b, "the archive was saved without %d layers that are needed", len(e.Layers))
	if len(e.Layers) == 1 {
		b.Reset()
		b.WriteString("the archive was saved without a layer that is needed")
	}
	for i, l := range e.Layers {
		if i == enough {
			fmt.Fprintf(&b, ", and %d more", len(e.Layers)-enough)
			break
		}
		separator := ", "
		if i == 0 {
			separator = ": "
		}
		fmt.Fprintf(&b, "%s%s is %s %s", separator, printable.String(l.Digest.String()), l.how(), printable.String(l.Archive))
		if l.Why != "" {
			fmt.Fprintf(&b, " but cannot be made: %s", printable.String(l.Why))
		}
	}
	return b.String()
}

// how says what the archive is to the layer.
func (l *LeftOut) how() string {
	switch {
	case l.Delta == "":
		return "in"
	case len(l.From) > 0 && l.From[0].Exact:
		return "made from compressed layers of"
	}
	return "made from layers of"
}

// Unwrap makes it an fs.ErrNotExist.
func (e *LeftOutError) Unwrap() error { return fs.ErrNotExist }

// AmbiguousError means that one of several images has to be chosen.
type AmbiguousError struct {
	// Wanted is the name that several images have, empty if none was given.
	Wanted string
	// Matches is how many images it could be, two at least.
	Matches int
	// Available are all images that there are, as in a NoImageError.
	Available []string
}

// Error lists the images that there are.
func (e *AmbiguousError) Error() string {
	if e.Wanted == "" {
		return fmt.Sprintf("%d images are in the archive, choose one of them: %s", e.Matches, list(e.Available))
	}
	return fmt.Sprintf("%d images are named %s; choose one by its position: %s", e.Matches, printable.String(e.Wanted), list(e.Available))
}

// NoPlatformError means that an index has no image for a platform.
type NoPlatformError struct {
	Wanted    string
	Available []string // as OS/ARCH[/VARIANT]
}

// Error lists the platforms that there are.
func (e *NoPlatformError) Error() string {
	return fmt.Sprintf("there is no image for %s, only for %s", printable.String(e.Wanted), join(e.Available))
}

// list names images for a message, but not thousands of them.
func list(images []string) string {
	const enough = 10
	switch {
	case len(images) == 0:
		return "no image"
	case len(images) > enough:
		return fmt.Sprintf("%s, and %d more", join(images[:enough]), len(images)-enough)
	}
	return join(images)
}

// join sets names of others apart.
func join(names []string) string { return strings.Join(printable.Strings(names), ", ") }

// Errorf returns an error that reads as fmt.Errorf would write it, and is kind as
// well, for errors.Is, without saying so. Package fmt's own %w is for where the
// words of kind belong in the message.
func Errorf(kind error, format string, args ...any) error {
	return &classified{fmt.Errorf(format, args...), kind}
}

type classified struct {
	error
	kind error
}

// Unwrap gives both to errors.Is and errors.As.
func (e *classified) Unwrap() []error { return []error{e.error, e.kind} }
