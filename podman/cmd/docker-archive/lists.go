package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// argument is an image of the command line, or of a file.
type argument struct {
	text     string
	place    string   // FILE:LINE, empty for the command line
	name     string   // its new name, empty to keep its own
	platform string   // to choose from it, empty if the flags say that
	tags     *tagRule // which tags of the repository that text is; nil if it is an image
	access   *access  // access to its registry according to a file, nil to use the flags
}

// listing is the images in a file.
type listing struct {
	images []argument
	wrong  []error  // entries that name images and cannot be taken
	notes  []string // entries that are no images
}

// given returns the arguments of the command line.
func given(args []string) []argument {
	arguments := make([]argument, len(args))
	for i, arg := range args {
		arguments[i] = namedArgument(arg).located()
	}
	return arguments
}

// located adds the transport to an argument that is a file. Names in files of other programs,
// such as Kubernetes', never are files.
func (a argument) located() argument {
	if located := withTransport(a.text); !strings.HasPrefix(located, docker.Transport.Name()+"://") {
		a.text = located
	}
	return a
}

// wrong says where an image that is wrong was given.
func (a argument) wrong(err error) error { return placed(a.place, err) }

func placed(place string, err error) error {
	if place == "" {
		return err
	}
	return fmt.Errorf("%s: %w", place, err)
}

// maxLine is how long a line of a list may be. No name of an image is longer.
const maxLine = 64 << 10

// listed returns the images in the files of --from-file and --from-yaml, each once.
func (o *saveOptions) listed(stdin io.Reader) (*listing, error) {
	if slices.Contains(o.fromFiles, "-") && slices.Contains(o.fromYAML, "-") {
		return nil, usagef("only one of --from-file and --from-yaml can be the standard input")
	}
	all := &listing{}
	for _, kind := range []struct {
		files []string
		read  func(in io.Reader, name string) (*listing, error)
	}{{o.fromFiles, readList}, {o.fromYAML, yamlImages}} {
		for _, file := range kind.files {
			more, err := readFile(stdin, file, kind.read)
			if err != nil {
				return nil, err
			}
			all.images = append(all.images, more.images...)
			all.wrong = append(all.wrong, more.wrong...)
			all.notes = append(all.notes, more.notes...)
		}
	}
	seen := map[argument]bool{}
	all.images = slices.DeleteFunc(all.images, func(a argument) bool { // Manifests name one image again and again.
		a.place, a.text = "", o.inFull(a.text)
		defer func() { seen[a] = true }()
		return seen[a]
	})
	return all, nil
}

// report reports entries of files that are not taken. With --keep-going, those that name
// images are left out; else they are the error.
func (l *listing) report(o *saveOptions, stderr io.Writer) error {
	if !o.quiet {
		for _, n := range l.notes {
			fmt.Fprintf(stderr, "docker-archive: note: %s\n", printable.String(n))
		}
	}
	switch {
	case len(l.wrong) == 0:
		return nil
	case !o.keepGoing:
		return faults(l.wrong).err()
	}
	for _, err := range l.wrong {
		printError(stderr, err)
		o.unlisted.notSaved("", err)
	}
	return nil
}

// inFull returns the whole name of an image in a registry, to compare images by. It returns
// anything else unchanged.
func (o *saveOptions) inFull(arg string) string {
	if _, _, ok := cutTransport(arg); ok {
		return arg
	}
	named, err := reference.ParseNormalizedNamed(strings.TrimPrefix(arg, docker.Transport.Name()+"://"))
	if err != nil {
		return arg
	}
	if !o.allTags {
		named = reference.TagNameOnly(named)
	}
	return named.String()
}

// readFile reads a file that names images: in UTF-8, or in the encoding of its byte order
// mark. Windows writes such files.
func readFile(stdin io.Reader, file string, read func(in io.Reader, name string) (*listing, error)) (*listing, error) {
	if file == "-" {
		return read(decoded(stdin), "standard input")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading the list of images: %w", err)
	}
	defer f.Close() // It is only read.
	return read(decoded(f), file)
}

// decoded returns a text in UTF-8, without a byte order mark.
func decoded(text io.Reader) io.Reader {
	return transform.NewReader(text, unicode.BOMOverride(encoding.Nop.NewDecoder()))
}

// readList reads a list with one image on a line, and maybe its name.
func readList(in io.Reader, name string) (*listing, error) {
	l := &listing{}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		if !utf8.Valid(lines.Bytes()) || bytes.IndexByte(lines.Bytes(), 0) >= 0 {
			return nil, usagef("%s:%d: a list of images is text, with one on a line", name, n)
		}
		line, _, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "\ufeff"), "#") // A concatenated list may have a byte order mark on any line.
		if line = strings.TrimSpace(line); line != "" {
			arg := listedArgument(line).located()
			arg.place = fmt.Sprintf("%s:%d", name, n)
			l.images = append(l.images, arg)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, usagef("%s:%d: the line is longer than %d bytes; a list of images has one on a line", name, n+1, maxLine)
	case err != nil:
		return nil, fmt.Errorf("reading the list of images from %s: %w", name, err)
	}
	return l, nil
}

// shortened cuts user input to a length that fits a message.
func shortened(s string) string {
	const enough = 200
	if len(s) <= enough {
		return s
	}
	return strings.ToValidUTF8(s[:enough], "") + "…"
}

// add appends images, and keeps where they were given.
func (l *imageList) add(images []copying.SaveImage, place string) {
	l.images = append(l.images, images...)
	if place == "" {
		return
	}
	for _, img := range images {
		if name := transports.ImageName(img.Source); l.places[name] == "" {
			l.places[name] = place
		}
	}
}

// place adds to an error of images where they were given.
func (l *imageList) place(err error) error {
	var several *errdef.ImagesError
	var one *errdef.ImageError
	switch {
	case errors.As(err, &several):
		var wrong faults
		for _, img := range several.Images {
			wrong = append(wrong, placed(l.places[img.Image], l.registry.refused(img)))
		}
		return wrong.err()
	case errors.As(err, &one):
		return placed(l.places[one.Image], l.registry.refused(err))
	}
	return err
}

// faults are the errors of several images.
type faults []error

// err returns the error if there is one only, else all.
func (f faults) err() error {
	if len(f) == 1 {
		return f[0]
	}
	return f
}

// Error has a line for each of the errors, but ten at most.
func (f faults) Error() string {
	var lines []string
	for _, err := range f.shown() {
		lines = append(lines, err.Error())
	}
	if more := f.more(); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more images", more))
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives all to errors.Is and errors.As.
func (f faults) Unwrap() []error { return f }

// maxShown is how many images one message names.
const maxShown = 10

func (f faults) shown() []error { return f[:min(len(f), maxShown)] }

func (f faults) more() int { return len(f) - len(f.shown()) }
