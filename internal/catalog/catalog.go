// Package catalog knows which images an archive holds, whoever wrote it, and
// where their parts are. It reads manifest.json (docker save and those who
// follow it), index.json (OCI image layouts) and, where there is neither, the
// layer directories of Docker before 1.10. It knows nothing of containers/image.
package catalog

import (
	"context"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// Catalog is what images an archive holds. All methods may be called
// concurrently.
type Catalog struct {
	files  *tarfile.Index
	images []*Image
	oci    []*Image       // of index.json
	items  []manifestItem // of manifest.json
	byName map[string][]tagged
	layers *layerCache
}

// Image is one image of an archive, or one image index with all its platforms.
type Image struct {
	// Position is its zero-based place in the archive.
	Position int
	// Names are what it is called in the archive, in the order given there.
	// Not all of them need be valid references.
	Names []string

	contents
}

// contents is what an image is made of. Every dialect has its own.
type contents interface {
	// Manifest returns the manifest or index and its media type; with an
	// instance, that of the index. Its digest has been verified where it is known.
	Manifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error)
	// Blob finds a config or layer that a manifest of the image names. The error
	// wraps fs.ErrNotExist if there is none of this digest.
	Blob(ctx context.Context, d digest.Digest) (Blob, error)
}

// tagged is one name of one image.
type tagged struct {
	image *Image
	name  string // as it is in the archive
}

// Load reads the table of contents of an archive. The error wraps
// errdef.ErrNoImageArchive if there is none, ErrDamaged or ErrLimit if it is at
// fault.
func Load(ctx context.Context, files *tarfile.Index) (*Catalog, error) {
	c := &Catalog{files: files, byName: map[string][]tagged{}}
	c.layers = newLayerCache(files)
	var err error
	if c.oci, err = c.loadOCI(); err != nil {
		return nil, err
	}
	if c.items, err = c.loadManifestJSON(); err != nil {
		return nil, err
	}
	images, err := c.merge(ctx)
	if err != nil {
		return nil, err
	}
	if len(images) == 0 && !files.Has(indexJSON) && !files.Has(manifestJSON) {
		if images, err = c.loadLegacy(); err != nil {
			return nil, err
		}
		if len(images) == 0 {
			return nil, errdef.Errorf(errdef.ErrNoImageArchive, "no images: neither manifest.json, index.json nor repositories")
		}
	}
	for i, img := range images {
		img.Position = i
		for _, name := range img.Names {
			if normalized, ok := Normalize(name); ok {
				c.byName[normalized] = append(c.byName[normalized], tagged{img, name})
			}
		}
	}
	c.images = images
	return c, nil
}

// Images returns all images in the order of the archive. The caller must not
// change them.
func (c *Catalog) Images() []*Image { return c.images }

// Normalize returns the full form of a name, domain and tag included. ok is
// false for what is not a name with a tag, or one that the default tag could be
// added to.
func Normalize(name string) (normalized string, ok bool) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", false
	}
	if _, ok := named.(reference.Digested); ok {
		return "", false
	}
	return reference.TagNameOnly(named).String(), true
}

// Choose returns the image with the given normalized name; or, if name is
// empty, the one at position; or, if that is -1, the only image. tag is the name
// as it is in the archive if the image was found by it. The error is an
// errdef.NoImageError or an AmbiguousError.
func (c *Catalog) Choose(name string, position int) (img *Image, tag string, err error) {
	switch {
	case name != "":
		found := c.byName[name]
		for _, t := range found {
			if t.image != found[0].image {
				return nil, "", &errdef.AmbiguousError{Wanted: name, Matches: len(found), Available: c.available()}
			}
		}
		if len(found) == 0 {
			return nil, "", &errdef.NoImageError{Wanted: name, Available: c.available()}
		}
		return found[0].image, found[0].name, nil
	case position >= 0:
		if position >= len(c.images) {
			return nil, "", &errdef.NoImageError{Wanted: fmt.Sprintf("@%d", position), Available: c.available()}
		}
		return c.images[position], "", nil
	case len(c.images) == 0:
		return nil, "", &errdef.NoImageError{}
	case len(c.images) > 1:
		return nil, "", &errdef.AmbiguousError{Matches: len(c.images), Available: c.available()}
	}
	return c.images[0], "", nil
}

// available names the images for an error.
func (c *Catalog) available() []string {
	all := make([]string, len(c.images))
	for i, img := range c.images {
		all[i] = strings.Join(append([]string{fmt.Sprintf("@%d", i)}, img.Names...), " ")
	}
	return all
}
