package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

const (
	indexJSON = v1.ImageIndexFile
	// containerdName is the annotation that containerd, Docker and BuildKit put
	// the full name of an image in. OCI's own has the tag only, as they use it.
	containerdName = "io.containerd.image.name"
)

// blobDir returns the digest algorithm of a directory for blobs.
func blobDir(dir string) (digest.Algorithm, bool) {
	algorithm, ok := strings.CutPrefix(strings.TrimSuffix(dir, "/"), v1.ImageBlobsDir+"/")
	return digest.Algorithm(algorithm), ok && !strings.Contains(algorithm, "/")
}

// blobName returns where an OCI layout has a blob.
func blobName(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", errdef.Errorf(errdef.ErrDamaged, "digest %q: %w", d, err)
	}
	return v1.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded(), nil
}

// ociImage is an image, or an image index, of which the archive has the original
// manifest.
type ociImage struct {
	files      *tarfile.Index
	descriptor v1.Descriptor
}

// loadOCI returns the images of index.json, none if there is no such file. It
// has one descriptor per name; they are grouped by what they describe.
func (c *Catalog) loadOCI() ([]*Image, error) {
	if !c.files.Has(indexJSON) {
		return nil, nil
	}
	data, err := c.files.ReadFile(indexJSON, maxTableOfContents)
	if err != nil {
		return nil, err
	}
	var index document
	if err := Decode(indexJSON, data, &index); err != nil {
		return nil, err
	}
	var images []*Image
	byDigest := map[digest.Digest]*Image{}
	for n, d := range index.Manifests {
		if err := d.Digest.Validate(); err != nil {
			return nil, errdef.Errorf(errdef.ErrDamaged, "%s: manifest %d: digest %q: %w", indexJSON, n, d.Digest, err)
		}
		img, ok := byDigest[d.Digest]
		if !ok {
			img = &Image{contents: &ociImage{c.files, d}}
			byDigest[d.Digest] = img
			images = append(images, img)
		}
		name := d.Annotations[containerdName]
		if name == "" {
			name = d.Annotations[v1.AnnotationRefName]
		}
		if name != "" && !slices.Contains(img.Names, name) {
			img.Names = append(img.Names, name)
		}
	}
	return images, nil
}

// readDocument returns the manifest or index with the digest in d, verified.
func readDocument(files *tarfile.Index, d v1.Descriptor) ([]byte, *document, error) {
	name, err := blobName(d.Digest)
	if err != nil {
		return nil, nil, err
	}
	data, err := files.ReadFile(name, maxDocument)
	if errors.Is(err, fs.ErrNotExist) {
		what := "manifest"
		if p := PlatformString(d.Platform); p != "" {
			what += " for " + p
		}
		// A daemon that has pulled one platform still exports the whole index.
		return nil, nil, fmt.Errorf("the archive was saved without the %s: %w", what, err)
	}
	if err != nil {
		return nil, nil, err
	}
	if err := verifyDocument(name, data, d.Digest); err != nil {
		return nil, nil, err
	}
	var doc document
	if err := Decode(name, data, &doc); err != nil {
		return nil, nil, err
	}
	return data, &doc, nil
}

// Descriptor returns how index.json describes the image; ok is false if the
// archive has no manifest of it.
func (img *Image) Descriptor() (d v1.Descriptor, ok bool) {
	if i, ok := img.contents.(*ociImage); ok {
		return i.descriptor, true
	}
	return v1.Descriptor{}, false
}

// Manifest implements contents.
func (i *ociImage) Manifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	d := i.descriptor
	if instance != nil && *instance != d.Digest {
		d = v1.Descriptor{Digest: *instance}
	}
	data, doc, err := readDocument(i.files, d)
	if err != nil {
		return nil, "", err
	}
	return data, doc.mediaType(d.MediaType), nil
}

// Blob implements contents.
func (i *ociImage) Blob(ctx context.Context, d digest.Digest) (Blob, error) {
	name, err := blobName(d)
	if err != nil {
		return Blob{}, err
	}
	f, err := i.files.Lookup(name)
	if err != nil {
		return Blob{}, err
	}
	return Blob{Digest: d, Size: f.Size, file: stored{Member: f, files: i.files, algorithm: compression.None}}, nil
}

// merge returns the images of index.json and those that only manifest.json has,
// and adds to the former the names that only it has: some tools keep them in one
// of the two.
func (c *Catalog) merge(ctx context.Context) ([]*Image, error) {
	images := slices.DeleteFunc(slices.Clone(c.oci), func(img *Image) bool {
		// An index.json of manifests that are not there is no use, if there is
		// another way to the image.
		name, err := blobName(img.contents.(*ociImage).descriptor.Digest)
		return len(c.items) > 0 && (err != nil || !c.files.Has(name))
	})
	known := len(images)
	names := map[string]bool{} // normalized, of those known
	for _, img := range images {
		for _, name := range img.Names {
			if n, ok := Normalize(name); ok {
				names[n] = true
			}
		}
	}
	isNamed := func(tag string) bool {
		n, ok := Normalize(tag)
		return ok && names[n]
	}
	var byConfig map[digest.Digest]*Image
	for _, item := range c.items {
		if known == 0 {
			images = append(images, c.dockerImage(item))
			continue
		}
		// What both call by the same name need not be read to be matched.
		tagged := len(item.RepoTags) > 0
		item.RepoTags = slices.DeleteFunc(slices.Clone(item.RepoTags), isNamed)
		if tagged && len(item.RepoTags) == 0 {
			continue
		}
		if byConfig == nil {
			byConfig = c.configs(images[:known])
		}
		if d, err := c.configDigest(item); err != nil || byConfig[d] == nil {
			images = append(images, c.dockerImage(item)) // Which says what is wrong when it is opened.
		} else {
			byConfig[d].addTags(item.RepoTags)
		}
	}
	return images, ctx.Err()
}

// addTags adds full names to what index.json calls the image. It may have had
// no more than their tags.
func (img *Image) addTags(tags []string) {
	img.Names = slices.DeleteFunc(img.Names, func(name string) bool {
		return slices.ContainsFunc(tags, func(tag string) bool { return strings.HasSuffix(tag, ":"+name) })
	})
	for _, tag := range tags {
		if !slices.Contains(img.Names, tag) {
			img.Names = append(img.Names, tag)
		}
	}
}

// configs maps the configs of all manifests to the images that have them.
func (c *Catalog) configs(images []*Image) map[digest.Digest]*Image {
	byConfig := map[digest.Digest]*Image{}
	for _, img := range images {
		// What cannot be read is found out when the image is used.
		_ = walk(c.files, img.contents.(*ociImage).descriptor, func(_ v1.Descriptor, _ []byte, doc *document, err error) error {
			if err == nil && doc.Config != nil {
				if _, ok := byConfig[doc.Config.Digest]; !ok {
					byConfig[doc.Config.Digest] = img
				}
			}
			return nil
		})
	}
	return byConfig
}

// walk calls visit for the manifest or index that d describes and, if it is an
// index, for all that it leads to, each once and an index before its manifests.
// What cannot be read is passed to visit as an error. visit's own error ends the
// walk.
func walk(files *tarfile.Index, d v1.Descriptor, visit func(d v1.Descriptor, data []byte, doc *document, err error) error) error {
	seen := map[digest.Digest]bool{}
	var step func(d v1.Descriptor, depth int) error
	step = func(d v1.Descriptor, depth int) error {
		if seen[d.Digest] {
			return nil
		}
		seen[d.Digest] = true
		if depth > maxIndexDepth {
			return visit(d, nil, nil, fmt.Errorf("%w: indexes nested more than %d deep", errdef.ErrLimit, maxIndexDepth))
		}
		data, doc, err := readDocument(files, d)
		if err := visit(d, data, doc, err); err != nil {
			return err
		}
		if err != nil {
			return nil
		}
		for _, child := range doc.Manifests {
			if err := step(child, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return step(d, 2) // After index.json.
}
