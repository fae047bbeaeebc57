// Package compose makes images: it puts layers upon those of a base and changes config and
// history. An Image describes one that does not exist until it is made, and making it needs
// neither a store, a daemon nor root. The inputs decide every byte of the output: no clock,
// and nothing else of the machine, goes into it.
//
// The package knows nothing of containers/image; package making has an adapter that
// gives an Image to its transports.
package compose

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/progress"
)

// Format is a kind of manifest and config.
type Format int

// The formats.
const (
	OCI    Format = iota // of the OCI image specification
	Docker               // Docker's image manifest version 2, schema 2
)

// Image describes an image. It must not be changed while it is made.
type Image struct {
	// Base is the image that this one is built on; nil is none.
	Base Base
	// BaseName is the name of the base, or of On, in the history and, in an OCI image, in
	// the annotations. "" for nothing.
	BaseName string
	// Replace and On, unless both are nil, rebase: the layers of Replace, which must be
	// the lowest of Base, give way to those of On. Otherwise it is an ErrNotBelow.
	Replace, On Base

	// Layers are put upon those of the base, the lowest first. One without Content
	// is a step of the history that changed no file.
	Layers []Layer
	// RewriteTimes replaces the times of files in Layers, or in the squashed layer, by
	// Created, which must be given.
	RewriteTimes bool
	// Squash makes one layer of all, those of the base included. Its history is that of
	// the last of Layers, so that one without Content is an error. The base is read
	// into a temporary file.
	Squash bool
	// SquashRewriting is done to the files of that layer.
	SquashRewriting Rewriting

	// Change, if it is not nil, changes the config of the base.
	Change func(*Config) error
	// OmitHistory leaves the history out.
	OmitHistory bool
	// Parent is the ID of the image that a Docker image was built on; "" for nothing. Squash
	// and OmitHistory leave it out.
	Parent digest.Digest

	// Annotations are added to those of the base's manifest, in an OCI image only.
	// UnsetAnnotations are taken away first; with ClearAnnotations all are, and
	// org.opencontainers.image.base.name and .digest are not set.
	Annotations      map[string]string
	UnsetAnnotations []string
	ClearAnnotations bool

	// Created is when the image was made, which its history then says of every layer
	// that is added. The zero time is the latest that the base, the layers and their
	// history tell; the start of Unix time if they tell none.
	Created time.Time

	// NotAfter, unless it is zero, is the latest that Created may be if it is not given: a
	// file with a time in the future does not make an image of the future.
	NotAfter time.Time

	// Format is that of manifest and config.
	Format Format
	// Compression is how to store layers that do not come compressed.
	Compression Compression
	// Progress, unless nil, is told how much of a layer has been Read, under the Name of its
	// content, and when it is Finished. Base layers that package making writes into an
	// archive go under their digests. It may be called concurrently, and must return soon.
	Progress func(progress.Event)
	// Warn, unless nil, gets a sentence for each thing that differs from the input.
	Warn func(message string)
	// TempDir is for unnamed temporary files; "" is the system's directory for large
	// ones.
	TempDir string
}

// AddedLayers returns how many layers are put upon those of the base.
func (i *Image) AddedLayers() int {
	if i.Squash {
		return 1
	}
	n := 0
	for _, l := range i.Layers {
		if l.Content != nil {
			n++
		}
	}
	return n
}

// report tells Progress of an event.
func (i *Image) report(e progress.Event) {
	if i.Progress != nil {
		i.Progress(e)
	}
}

// Layer is a layer of files, or a step that has changed none.
type Layer struct {
	// Content is nil for a step that has changed no file.
	Content Content
	// Expected is what is known of the content. If it proves to be something else, that
	// is an errdef.ErrDamaged.
	Expected Expected
	// History is how the layer came to be. EmptyLayer is set by whether there is
	// Content. Created, if it is not given or Image.Created is, is when the image was
	// made; CreatedBy is the shell by default, Author that of the image.
	History v1.History
	// Annotations are those of the layer in an OCI manifest.
	Annotations map[string]string
}

// Expected is what content is said to be. A zero value means not known.
type Expected struct {
	// Digest and Size, in bytes, are those of what Content.Open returns.
	Digest digest.Digest
	Size   int64
	// DiffID is the digest of the layer when it is not compressed, a SHA-256.
	DiffID digest.Digest
}

// Content is what a layer consists of: Tar, Stream, Pack, Filter and each Part make
// one, and so may callers.
type Content interface {
	// Name is what errors call the content.
	Name() string
	// Open returns the layer: a tar stream, compressed or not. A layer in gzip or zstd
	// is passed on as it is. Open may be called several times, one after another, and
	// returns the same bytes every time, unless the content is a Stream. Reading fails
	// when ctx ends.
	Open(ctx context.Context) (io.ReadCloser, error)
}

// Base is an image of one platform. ArchiveBase makes one of an image in an archive,
// package making one of any that containers/image knows. Its methods may be called
// concurrently.
type Base interface {
	// Manifest returns the manifest, whose digest is verified, and its media type.
	Manifest(ctx context.Context) ([]byte, string, error)
	// Blob returns a config or layer of it. The caller verifies it.
	Blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
}

// StoredBase is a Base whose layers need not be stored as its manifest has them, such
// as one in containers/storage.
type StoredBase interface {
	Base
	// Layers returns what Blob has instead of the layers of the manifest, lowest first,
	// or nil if the manifest says it.
	Layers(ctx context.Context) ([]v1.Descriptor, error)
}

// RemoteBase may be implemented by a Base whose layers come from far away. A layer whose
// files are needed is kept in a temporary file, so that it is read once.
type RemoteBase interface {
	Base
	Remote() bool
}

// RandomBase may be implemented by a Base whose layers can be read from anywhere, as those in
// a file. Only the headers of one that is not compressed are read to look at its files.
type RandomBase interface {
	Base
	// At returns a layer as it is stored, compressed or not, for reading concurrently, its size
	// in bytes, and the digest that it should have, "" if Blob returns it in another form. It
	// returns nil for one that cannot be read like that.
	At(ctx context.Context, d v1.Descriptor) (at io.ReaderAt, size int64, stored digest.Digest, err error)
}

// MadeUpBase is a Base whose manifest may have been made up for the reader, as for an
// archive without manifests: nobody else knows its digest.
type MadeUpBase interface {
	Base
	// MadeUp reports whether it was.
	MadeUp() bool
}

// Compression is how layers are compressed.
type Compression struct {
	Algorithm Algorithm
	// Level is 1 (fast) to 9 (small) of gzip, 1 to 22 of zstd; 0 is the usual one.
	Level int
}

// Algorithm is a way to compress layers for which media types exist.
type Algorithm int

// The algorithms.
const (
	Gzip Algorithm = iota
	Zstd           // of OCI images only
	None
)

func (i *Image) warn(format string, args ...any) {
	if i.Warn != nil {
		i.Warn(fmt.Sprintf(format, args...))
	}
}
