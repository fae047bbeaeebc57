// Package layout defines the forms of an image archive: which images each accepts, which
// entries it has, under which names and in which order, and the content of its tables of
// contents. It knows nothing of where bytes come from or go to.
package layout

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// Layout is a kind of archive.
type Layout interface {
	// Unpacks reports whether layers are stored uncompressed, under their diff
	// IDs, and manifests not at all; else all blobs are stored as they are
	// received.
	Unpacks() bool
	// Types returns the media types of the documents that an image may have.
	Types() []string
	// Check returns why a document cannot be part of an archive, as far as the
	// document itself tells. It returns a *TypeError for types that are not among
	// Types.
	Check(d *image.Document) error
	// LeftOut returns why Docker does not see an image that the archive holds, "" if it
	// does.
	LeftOut(img *image.Image) string
	// BlobName returns the name of the entry that holds a blob.
	BlobName(d digest.Digest) string
	// ConfigName returns the name of the entry that holds a config.
	ConfigName(d digest.Digest) string
	// NeedsFiles reports whether an image may need files of its own because of a blob, so
	// that a planned archive needs room for them behind its blobs.
	NeedsFiles(d digest.Digest) bool
	// BlobHeader describes that entry.
	BlobHeader(d digest.Digest, size int64) (*tar.Header, error)
	// NewTable returns the table of contents of an archive without images.
	NewTable() Table
	// ReadTable returns the table of an archive of this layout from any writer. Unchanged
	// parts are written again as they were: annotations, platforms, unknown fields. The
	// error wraps ErrOther for an archive that is of another layout.
	ReadTable(old Archive) (Table, error)
}

// WithoutDocker returns a layout without the parts that only Docker's own readers need.
func WithoutDocker(l Layout) (Layout, error) {
	oci, ok := l.(OCI)
	if !ok {
		return nil, errors.New("an archive of this kind is nothing without manifest.json; write an image-archive")
	}
	oci.Pure = true
	return oci, nil
}

// Archive is an archive that has been read.
type Archive interface {
	// ReadTable returns a table of contents by the name of its entry. The error
	// wraps fs.ErrNotExist if there is none.
	ReadTable(name string) ([]byte, error)
	// Has reports whether there is an entry of this name.
	Has(name string) bool
	// Unlisted returns the images that an OCI layout has but does not list in its table of
	// contents.
	Unlisted() []v1.Descriptor
	// Tables returns index.json and manifest.json as they have been read, each nil if it has
	// to be read again. Nothing in them must be changed.
	Tables() (*image.Index, []image.Element[image.Item])
	// Tree returns everything that an image leads to. ok is false if a part of it is not
	// there, or has not been looked for.
	Tree(top digest.Digest) (t image.Tree, ok bool)
}

// ErrOther is returned by ReadTable for an archive of another layout.
var ErrOther = errors.New("the archive is of another layout")

// readTable returns nil for a table that is not there.
func readTable(old Archive, name string) ([]byte, error) {
	data, err := old.ReadTable(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// Table is the table of contents of an archive. Its methods must not be called
// concurrently.
type Table interface {
	// Head returns the files that an archive starts with.
	Head() ([]tarfile.Small, error)
	// Claim makes names those of the image, until release is called if it is not
	// added. It returns a *NameError, and does nothing, if one of them is that of
	// another image.
	Claim(img *image.Image) (release func(), err error)
	// Place returns the entries of an image in their order: its blobs and, after
	// them, the files that only this image adds to those before it. Blobs that
	// the archive has already are among them; files are not. files must be ranged
	// over before the table changes.
	Place(img *image.Image) (blobs []Blob, files tarfile.Smalls, err error)
	// Add records an image whose entries have been written, or more names for an existing
	// one.
	Add(img *image.Image) error
	// Taken returns those names of an image that another one has: Claim would fail.
	Taken(img *image.Image) []string
	// SameTags returns a warning for every tag of an image that another one has in
	// another repository, where clients look for images by their tags only.
	SameTags(img *image.Image) []string
	// Remove takes names away and, unless keep is set, the images that have none left.
	// Names that nothing has are passed over. Many names take as long as one. After an
	// error, which is that of ctx, the table is of no use any more.
	Remove(ctx context.Context, names []string, keep bool) error
	// RemoveOrphans removes images that have no name and are only in indexes that Remove
	// has removed, and, unless keep is set, signatures, SBOMs and other referrers whose
	// subjects are all removed. It returns the digests of the referrers.
	RemoveOrphans(ctx context.Context, keep bool) ([]digest.Digest, error)
	// Tag gives an image that is there a name that no other image has. It returns warnings,
	// as SameTags does.
	Tag(img Tagged, name string) []string
	// Tail returns the files that an archive ends with.
	Tail() ([]tarfile.Small, error)
	// Notes returns the notes on the images for the listing of the entries. ok is false if
	// an archive of this kind has no listing.
	Notes() (notes []byte, ok bool)
	// Empty reports whether there is no image.
	Empty() bool
}

// Blob is a blob of an image as an archive has it.
type Blob struct {
	Received digest.Digest // by which the image refers to it
	Stored   digest.Digest // under which it is stored
	Size     int64         // as it is stored, in bytes; -1 if that is not known
}

// Metadata makes the metadata around the blobs of an archive, byte for byte. The
// transport that owns the docker layout hands it down.
type Metadata struct {
	// File, Symlink and Directory describe entries.
	File      func(name string, size int64) (*tar.Header, error)
	Symlink   func(name, target string) (*tar.Header, error)
	Directory func(name string) (*tar.Header, error)
	// Legacy returns the layers of an image as Docker before 1.10 knew them.
	Legacy func(config []byte, diffIDs []digest.Digest) (LegacyLayers, error)
}

// LegacyLayers are the layers of an image, each as an image of its own: there may be tens of
// thousands.
type LegacyLayers struct {
	IDs []string // lowest first
	// Files makes the entries of the n-th layer: only one's are in memory at a time.
	Files func(n int) ([]tarfile.Small, error)
}

// small returns an entry that is written from memory.
func (m Metadata) small(name string, data []byte) (tarfile.Small, error) {
	header, err := m.File(name, int64(len(data)))
	return tarfile.Small{Header: header, Data: data}, err
}

// ErrIndex is returned by Check for an index where there is room for one platform
// only.
var ErrIndex = errors.New("an archive of this kind holds single-platform images, not a manifest list or an index; choose a platform, or write an image-archive")

// TypeError is returned by Check for a document of a type that a layout cannot hold, but
// from which an image may be converted.
type TypeError struct{ MediaType string }

// Error names the type.
func (e *TypeError) Error() string {
	return fmt.Sprintf("manifest type %q is neither OCI nor Docker schema 2", e.MediaType)
}

// NameError is returned by Claim for a name of two images. Clients would keep only one
// of these.
type NameError struct {
	Name       string
	Have, Want string // digests, or the name of a config
}

// Error names both images.
func (e *NameError) Error() string {
	return fmt.Sprintf("two images want the name %s, and clients keep only one of them: %s and %s; name or save them separately", e.Name, e.Have, e.Want)
}

// names knows which image has which name, by an ID of the image.
type names map[string]string

// claim returns those that nothing had.
func (n names) claim(all []string, id string) (fresh []string, err error) {
	for _, name := range all {
		have, ok := n[name]
		if ok && have != id {
			return nil, &NameError{Name: name, Have: have, Want: id}
		}
		if !ok {
			fresh = append(fresh, name)
		}
	}
	for _, name := range fresh {
		n[name] = id
	}
	return fresh, nil
}

// release returns a function that gives names up again.
func (n names) release(fresh []string) func() {
	return func() {
		for _, name := range fresh {
			delete(n, name)
		}
	}
}

// taken returns the names that are not those of id.
func (n names) taken(all []string, id string) (taken []string) {
	for _, name := range all {
		if have, ok := n[name]; ok && have != id {
			taken = append(taken, name)
		}
	}
	return taken
}

// remove removes names and returns them as a set.
func (n names) remove(all []string) (gone map[string]bool) {
	gone = map[string]bool{}
	for _, name := range all {
		gone[name] = true
		delete(n, name)
	}
	return gone
}

// checkType is the part of Check that is common to all layouts.
func checkType(l Layout, d *image.Document) error {
	if !slices.Contains(l.Types(), d.Descriptor.MediaType) {
		return &TypeError{d.Descriptor.MediaType}
	}
	return nil
}
