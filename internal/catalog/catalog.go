// Package catalog knows which images an archive of any tool holds, and where their
// parts are. It reads manifest.json (docker save and its followers), index.json
// (OCI image layouts) and, where there is neither, the layer directories of Docker
// before 1.10. It knows nothing of containers/image.
package catalog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// Catalog is what images an archive holds. All methods may be called
// concurrently.
type Catalog struct {
	files  *tarfile.Index
	images []*Image
	oci    []*Image            // of index.json
	items  []manifestItem      // of manifest.json
	byName map[string][]tagged // by full name
	exact  map[string][]*Image // by name as it is in the archive
	layers *layerCache
	rivals []rival
	hints  map[digest.Digest]image.Tree // of images, as the listing of the entries has them
	trees  map[digest.Digest]image.Tree // of images that are all there, as far as that is known

	index    *image.Index                // index.json, nil for Load and if it is not as usual
	elements []image.Element[image.Item] // manifest.json, likewise

	unlisted []v1.Descriptor // what cosign saved without listing it

	leftOut    image.LeftOut // as index.json says
	leftOutErr error         // why it says nothing that can be read
	lender     Lender        // nil if nothing lends left-out layers
	lackedLayers
}

// Image is one image of an archive, or one image index with all its platforms.
type Image struct {
	// Position is its zero-based place in the archive.
	Position int
	// Names are its names in the archive, in the order given there. Not all of them
	// need be valid references.
	Names []string

	free     map[string]bool // of Names: those that the archive calls a reference name only
	warnings []string        // of what else the archive says of it
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
	c, err := LoadToChange(ctx, files)
	if err == nil {
		c.index, c.elements = nil, nil
	}
	return c, err
}

// LoadToChange is Load, and keeps what Tables returns.
func LoadToChange(ctx context.Context, files *tarfile.Index) (*Catalog, error) {
	c := &Catalog{files: files}
	c.layers = newLayerCache(files)
	c.hints = image.ParseTrees(files.Notes())
	var err error
	if c.oci, err = c.loadOCI(); err != nil {
		return nil, err
	}
	if c.items, err = c.loadManifestJSON(); err != nil {
		return nil, err
	}
	names := len(c.oci) + len(c.items) // at least, as a rule
	full := make(fullNames, names)
	c.byName, c.exact = make(map[string][]tagged, names), make(map[string][]*Image, names)
	images, err := c.merge(ctx, full)
	if err != nil {
		return nil, err
	}
	if len(images) == 0 && !files.Has(indexJSON) && !files.Has(manifestJSON) {
		if images, err = c.loadLegacy(); err != nil {
			return nil, err
		}
		if len(images) == 0 {
			return nil, errdef.Errorf(errdef.ErrNoImageArchive, "no images: %s", noTables(files))
		}
	}
	if len(images) == 0 {
		return nil, errdef.Errorf(errdef.ErrNoImageArchive, "no images: %s", c.emptyTables())
	}
	for i, img := range images {
		img.Position = i
		for _, name := range img.Names {
			if same := c.exact[name]; len(same) == 0 || same[len(same)-1] != img {
				c.exact[name] = append(same, img)
			}
			if normalized := full.of(name); normalized != "" {
				c.byName[normalized] = append(c.byName[normalized], tagged{img, name})
			}
		}
	}
	c.images = images
	return c, nil
}

// noTables says why there are no tables of contents.
func noTables(files *tarfile.Index) string {
	const none = "neither manifest.json, index.json nor repositories"
	switch {
	case files.Size() == 0:
		return "the file is empty"
	case !files.Terminated():
		return none + "; the file is cut short: it does not end as a tar archive does"
	}
	return none
}

// emptyTables says which tables of contents list nothing.
func (c *Catalog) emptyTables() string {
	var empty []string
	for _, name := range []string{manifestJSON, indexJSON} {
		if c.files.Has(name) {
			empty = append(empty, name)
		}
	}
	if len(empty) == 1 {
		return empty[0] + " lists none"
	}
	return strings.Join(empty, " and ") + " list none"
}

// areOneIndex reports whether images that have the same names, or none, are for
// different platforms, so that a platform chooses among them as it does in an index.
func (c *Catalog) areOneIndex(images []*Image) bool {
	seen := map[string]bool{}
	for _, img := range images {
		if !slices.Equal(img.Names, images[0].Names) {
			return false
		}
		d, ok := img.Descriptor()
		p := image.PlatformString(d.Platform)
		if !ok || p == "" || seen[p] {
			return false
		}
		seen[p] = true
	}
	return true
}

// Unlisted returns what is among the images although index.json does not list it, since cosign
// does not. The caller must not change it.
func (c *Catalog) Unlisted() []v1.Descriptor { return c.unlisted }

// Tables returns index.json and manifest.json, each nil if it is not there, not as usual, or has
// not been kept.
func (c *Catalog) Tables() (*image.Index, []image.Element[image.Item]) { return c.index, c.elements }

// Images returns all images in the order of the archive. The caller must not
// change them.
func (c *Catalog) Images() []*Image { return c.images }

// Normalize returns the full form of a name, domain and tag or digest included. ok
// is false for what cannot be a name.
func Normalize(name string) (normalized string, ok bool) {
	if _, _, full := naming.SplitFull(name); full {
		return name, true
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", false
	}
	return reference.TagNameOnly(named).String(), true
}

// fullNames remembers the full forms of names while an archive is opened: it has each in
// several tables of contents, and to parse it takes long. The form of an invalid
// name is "".
type fullNames map[string]string

func (f fullNames) of(name string) string {
	full, ok := f[name]
	if !ok {
		full, _ = Normalize(name)
		f[name] = full
	}
	return full
}

// Aliases returns the names in the archive that mean the same as name, as they are there.
func (c *Catalog) Aliases(name string) []string {
	var all []string
	if full, ok := Normalize(name); ok {
		for _, t := range c.byName[full] {
			if !slices.Contains(all, t.name) {
				all = append(all, t.name)
			}
		}
	} else if len(c.exact[name]) > 0 {
		all = []string{name}
	}
	return all
}

// IsFree reports whether a name of the image comes from an annotation that may
// hold anything, rather than from one that holds names with tags.
func (img *Image) IsFree(name string) bool { return img.free[name] }

// Candidates returns the images that a name may mean: those that have it as it
// stands or, if there is none, in its full form; if the name is empty, all images,
// without what is only about one of them. tag is the name as the first of them has it. The error is an errdef.NoImageError.
func (c *Catalog) Candidates(name string) (images []*Image, tag string, err error) {
	if name == "" {
		if len(c.images) == 0 {
			return nil, "", &errdef.NoImageError{}
		}
		return withoutReferrers(c.images), "", nil
	}
	if images := c.exact[name]; len(images) > 0 {
		return slices.Clone(images), name, nil
	}
	wanted := name
	if normalized, ok := Normalize(name); ok {
		wanted = normalized
		for _, t := range c.byName[normalized] {
			if !slices.Contains(images, t.image) {
				images = append(images, t.image)
			}
			tag = cmp.Or(tag, t.name)
		}
	}
	if len(images) == 0 {
		return nil, "", &errdef.NoImageError{Wanted: wanted, Available: c.available()}
	}
	return images, tag, nil
}

// Choose returns the image with the given name; or, if name is empty, the one at
// position; or, if that is -1, the only image. Among images that are there for
// different platforms, as in an index, platform chooses; it is given their
// descriptors and returns the number of one, or an error. tag is the name as it is
// in the archive if the image was found by it. The error is that of platform, or an
// errdef.NoImageError or AmbiguousError.
func (c *Catalog) Choose(name string, position int, platform func([]v1.Descriptor) (int, error)) (img *Image, tag string, err error) {
	if position >= 0 && name == "" {
		if position >= len(c.images) {
			return nil, "", &errdef.NoImageError{Wanted: fmt.Sprintf("@%d", position), Available: c.available()}
		}
		return c.images[position], "", nil
	}
	images, tag, err := c.Candidates(name)
	switch {
	case err != nil:
		return nil, "", err
	case len(images) == 1:
		return images[0], tag, nil
	case platform == nil || !c.areOneIndex(images):
		if normalized, ok := Normalize(name); ok {
			name = normalized
		}
		return nil, "", &errdef.AmbiguousError{Wanted: name, Matches: len(images), Available: c.available()}
	}
	descriptors := make([]v1.Descriptor, len(images))
	for i, img := range images {
		descriptors[i], _ = img.Descriptor()
	}
	i, err := platform(descriptors)
	if err != nil {
		return nil, "", err
	}
	return images[i], tag, nil
}

// available names the images for an error.
func (c *Catalog) available() []string {
	all := make([]string, len(c.images))
	for i, img := range c.images {
		all[i] = strings.Join(append([]string{fmt.Sprintf("@%d", i)}, img.Names...), " ")
	}
	return all
}

// ReadTable returns a table of contents by the name of its entry. The error wraps
// fs.ErrNotExist if there is none.
func (c *Catalog) ReadTable(name string) ([]byte, error) {
	return c.files.ReadFile(name, maxTableOfContents)
}

// Has reports whether the archive has an entry of this name.
func (c *Catalog) Has(name string) bool { return c.files.Has(name) }
