package catalog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

const (
	indexJSON = v1.ImageIndexFile
	// containerdName is the annotation that containerd, Docker and BuildKit put
	// the full name of an image in. OCI's own has the tag only, as they use it.
	containerdName = "io.containerd.image.name"
)

// blobDir returns the digest algorithm of a directory for blobs.
func blobDir(dir string) (algorithm string, ok bool) {
	algorithm, ok = strings.CutPrefix(strings.TrimSuffix(dir, "/"), v1.ImageBlobsDir+"/")
	return algorithm, ok && !strings.Contains(algorithm, "/")
}

// blobName returns where an OCI layout has a blob.
func blobName(d digest.Digest) (string, error) {
	if _, err := image.ParseDigest(d.String()); err != nil {
		return "", errdef.Errorf(errdef.ErrDamaged, "digest %q: %w", d, err)
	}
	return v1.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded(), nil
}

// ociImage is an image, or an image index, whose original manifest is in the archive.
type ociImage struct {
	files      *tarfile.Index
	layers     *layerCache
	catalog    *Catalog
	descriptor v1.Descriptor
	others     []v1.Descriptor                 // in index.json, of the same digest, that say something else of it
	items      map[digest.Digest]*manifestItem // of manifest.json, by config
	// namesake is what manifest.json has under a name of the image, if that is of
	// another config, or the manifest cannot be read.
	namesake *manifestItem

	mu      sync.Mutex
	settled map[digest.Digest]*settled // documents that have been looked at
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
	listed, err := c.readIndex(data)
	if err != nil {
		return nil, err
	}
	c.unlisted = image.CosignUnlisted(listed, c.files.Names(), func(path string) []byte {
		return c.files.ReadPrefixed(path, "{", image.MaxDocument)
	})
	listed = append(listed, c.unlisted...)
	var images []*Image
	byDigest := make(map[digest.Digest]*Image, len(listed))
	type called struct {
		image *Image
		name  string
	}
	known := make(map[called]bool, len(listed)) // An image may have thousands of names.
	cosign := image.CosignSubject(listed)
	for _, d := range listed {
		img, ok := byDigest[d.Digest]
		if !ok {
			img = &Image{contents: &ociImage{files: c.files, layers: c.layers, catalog: c, descriptor: d, items: map[digest.Digest]*manifestItem{}}}
			byDigest[d.Digest] = img
			images = append(images, img)
		}
		if of := img.contents.(*ociImage); d.Size != of.descriptor.Size || d.MediaType != of.descriptor.MediaType || len(d.Data) > 0 {
			of.others = append(of.others, d)
		}
		name, free := cmp.Or(d.Annotations[containerdName], d.Annotations[image.AnnotationTag]), false
		if name == "" {
			name, free = cmp.Or(d.Annotations[v1.AnnotationRefName], image.CosignTag(d, cosign)), true
		}
		if name != "" && !known[called{img, name}] {
			known[called{img, name}] = true
			img.Names = append(img.Names, name)
			if free {
				if img.free == nil {
					img.free = map[string]bool{}
				}
				img.free[name] = true
			}
		}
	}
	return withoutParts(c.files, images, c.hints), nil
}

// readIndex reads index.json.
func (c *Catalog) readIndex(data []byte) (listed []v1.Descriptor, err error) {
	if index, ok := image.ReadIndex(data); ok {
		c.index = index
		c.readLeftOut(index.Annotations[image.AnnotationLeftOut])
		listed = make([]v1.Descriptor, len(index.Manifests))
		for i, e := range index.Manifests {
			listed[i] = e.Value
		}
		return listed, nil
	}
	var fields image.Fields
	if err := image.Decode(indexJSON, data, &fields); err != nil {
		return nil, err
	}
	var raw struct{ Annotations map[string]json.RawMessage }
	if json.Unmarshal(data, &raw) == nil && raw.Annotations[image.AnnotationLeftOut] != nil { // Annotations of others may be anything.
		var value string
		if err := json.Unmarshal(raw.Annotations[image.AnnotationLeftOut], &value); err != nil {
			c.noLeftOut(err)
		} else {
			c.readLeftOut(value)
		}
	}
	return fields.Manifests, nil
}

// withoutParts returns the images that index.json lists, without parts of other images:
// manifests without a name that an index in the archive lists too. oras lists all that it has
// copied.
func withoutParts(files *tarfile.Index, images []*Image, hints map[digest.Digest]image.Tree) []*Image {
	unnamed := func(img *Image) bool { return len(img.Names) == 0 }
	if !slices.ContainsFunc(images, unnamed) {
		return images
	}
	parts := map[digest.Digest]*ociImage{}
	none := map[digest.Digest]bool{} // indexes that list none of the images, as hints say
	if len(hints) > 0 {
		listed := map[digest.Digest]bool{}
		for _, img := range images {
			listed[img.contents.(*ociImage).descriptor.Digest] = unnamed(img)
		}
		for top, tree := range hints {
			none[top] = !slices.ContainsFunc(tree.Documents, func(d digest.Digest) bool { return listed[d] })
		}
	}
	for _, img := range images {
		whole := img.contents.(*ociImage)
		if t := whole.descriptor.MediaType; t != v1.MediaTypeImageIndex && t != image.DockerList || len(digestTagged(img.Names)) > 0 || none[whole.descriptor.Digest] {
			continue
		}
		_ = walk(files, whole.descriptor, func(d v1.Descriptor, _ []byte, _ *image.Fields, _ error) error {
			if d.Digest != whole.descriptor.Digest {
				parts[d.Digest] = whole
			}
			return nil
		})
	}
	return slices.DeleteFunc(images, func(img *Image) bool {
		part := img.contents.(*ociImage)
		whole := parts[part.descriptor.Digest]
		if whole == nil || !unnamed(img) || len(img.Subjects()) > 0 { // An index may list referrers.
			return false
		}
		whole.others = append(whole.others, part.descriptor) // Its claims are checked all the same.
		whole.others = append(whole.others, part.others...)
		return true
	})
}

// readDocument returns the manifest or index with the digest in d, verified.
func readDocument(files *tarfile.Index, d v1.Descriptor) ([]byte, *image.Fields, error) {
	name, err := blobName(d.Digest)
	if err != nil {
		return nil, nil, err
	}
	data, err := files.ReadFile(name, image.MaxDocument)
	if errors.Is(err, fs.ErrNotExist) {
		what := "manifest"
		if p := image.PlatformString(d.Platform); p != "" {
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
	var doc image.Fields
	if err := image.Decode(name, data, &doc); err != nil {
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

// NamesConfig reports whether manifest.json has an item for this config of the image.
func (img *Image) NamesConfig(config digest.Digest) bool {
	i, ok := img.contents.(*ociImage)
	return ok && i.items[config] != nil
}

// Origin returns what manifest.json says of an image with this config.
func (img *Image) Origin(config digest.Digest) image.Origin {
	item := &manifestItem{}
	switch i := img.contents.(type) {
	case *ociImage:
		if i.items[config] != nil {
			item = i.items[config]
		}
	case *dockerImage:
		item = &i.item
	}
	parent, _ := parsed(item.Parent)
	return image.Origin{Parent: parent, LayerSources: item.LayerSources}
}

// Manifest implements contents.
func (i *ociImage) Manifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	d := i.descriptor
	if instance != nil && *instance != d.Digest {
		d = v1.Descriptor{Digest: *instance}
	}
	s, err := i.settle(ctx, d)
	switch {
	case err != nil:
		return nil, "", err
	case s.err != nil:
		return nil, "", s.err
	case s.instead != nil:
		return s.instead.Manifest(ctx, nil)
	}
	data, doc, err := readDocument(i.files, d)
	if err != nil {
		return nil, "", err
	}
	return data, doc.Type(d.MediaType), nil
}

// Stored returns a manifest or an index that the archive has, by its digest or, if that is
// empty, the image's own: as it is stored, and verified, whatever else the archive says.
// The error wraps fs.ErrNotExist if there is none.
func (img *Image) Stored(d digest.Digest) ([]byte, string, error) {
	i, ok := img.contents.(*ociImage)
	if !ok {
		return nil, "", fmt.Errorf("the archive has no manifest of it: %w", fs.ErrNotExist)
	}
	descriptor := i.descriptor
	if d != "" && d != descriptor.Digest {
		descriptor = v1.Descriptor{Digest: d}
	}
	data, doc, err := readDocument(i.files, descriptor)
	if err != nil {
		return nil, "", err
	}
	return data, doc.Type(descriptor.MediaType), nil
}

// Blob implements contents.
func (i *ociImage) Blob(ctx context.Context, d digest.Digest) (Blob, error) {
	s, err := i.settle(ctx, i.descriptor)
	if err != nil {
		return Blob{}, err
	}
	if s.instead != nil {
		return s.instead.Blob(ctx, d)
	}
	f, err := i.lookup(d)
	if errors.Is(err, fs.ErrNotExist) {
		if b, ok := i.catalog.borrowed(d); ok {
			return b, nil
		}
		if e, ok := i.catalog.LeftOut(d); ok {
			return Blob{}, &errdef.LeftOutError{Layers: []errdef.LeftOut{e.Of(v1.Descriptor{Digest: d, Size: -1})}}
		}
	}
	if err != nil {
		return Blob{}, err
	}
	return Blob{Digest: d, Size: f.Size, file: stored{Member: f, files: i.files, algorithm: compression.None}}, nil
}

// merge returns the images of index.json and those that only manifest.json has,
// and adds to the former the names that only it has: some tools keep them in one
// of the two.
func (c *Catalog) merge(ctx context.Context, full fullNames) ([]*Image, error) {
	images := slices.DeleteFunc(slices.Clone(c.oci), func(img *Image) bool {
		// An index.json of manifests that are not there is no use, if there is
		// another way to the image.
		name, err := blobName(img.contents.(*ociImage).descriptor.Digest)
		return len(c.items) > 0 && (err != nil || !c.files.Has(name))
	})
	if len(images) == 0 {
		for _, item := range c.items {
			images = append(images, c.dockerImage(item))
		}
		return images, ctx.Err()
	}
	if len(c.hints) > 0 {
		if newMerging(c, images, full, c.hints).agrees(c.items) {
			return images, ctx.Err()
		}
		c.hints = nil
	}
	m := newMerging(c, images, full, nil)
	for _, item := range c.items {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if img := m.add(item); img != nil {
			images = append(images, img)
		}
	}
	return images, nil
}

// merging knows the images of index.json by what manifest.json may call them.
type merging struct {
	catalog    *Catalog
	full       fullNames
	byName     map[string][]*Image        // normalized; several, if they differ in their platform
	byConfig   map[digest.Digest][]*Image // several, if they differ in their compression
	incomplete map[*Image]bool            // not all of their manifests are there
	unreadable map[*Image]bool            // not even their own
}

// newMerging reads the manifests of the images, except for those that hints describe.
func newMerging(c *Catalog, images []*Image, full fullNames, hints map[digest.Digest]image.Tree) *merging {
	m := &merging{catalog: c, full: full, byName: make(map[string][]*Image, len(images)), byConfig: make(map[digest.Digest][]*Image, len(images)), incomplete: map[*Image]bool{}, unreadable: map[*Image]bool{}}
	c.trees = make(map[digest.Digest]image.Tree, len(images))
	for _, img := range images {
		for _, name := range img.Names {
			if n := full.of(name); n != "" && !slices.Contains(m.byName[n], img) {
				m.byName[n] = append(m.byName[n], img)
			}
		}
	}
	if len(c.items) == 0 {
		return m
	}
	for _, img := range images {
		top := img.contents.(*ociImage).descriptor
		tree, ok := hints[top.Digest]
		if !ok {
			tree = m.walk(img, top)
		}
		for _, config := range tree.Configs {
			m.byConfig[config] = append(m.byConfig[config], img)
		}
		if !m.incomplete[img] {
			c.trees[top.Digest] = tree
		}
	}
	return m
}

// walk returns what an image leads to. Documents that cannot be read are found out when the
// image is used.
func (m *merging) walk(img *Image, top v1.Descriptor) (t image.Tree) {
	_ = walk(m.catalog.files, top, func(d v1.Descriptor, _ []byte, doc *image.Fields, err error) error {
		if err != nil {
			m.incomplete[img] = true
			m.unreadable[img] = m.unreadable[img] || d.Digest == top.Digest
			return nil
		}
		t.Add(top.Digest, d.Digest, doc.Config)
		return nil
	})
	return t
}

// agrees reports whether index.json has all that manifest.json has: each of its images is one
// of index.json, with all its names. Then it notes which item is of which image. Hints are
// only believed that far: all else is found out from the manifests.
func (m *merging) agrees(items []manifestItem) bool {
	owners, configs := make([][]*Image, len(items)), make([]digest.Digest, len(items))
	for n, item := range items {
		d, ok := digestInName(item.Config)
		configs[n] = d
		if owners[n] = m.byConfig[d]; !ok || len(owners[n]) == 0 {
			return false
		}
		for _, tag := range item.RepoTags {
			if !slices.ContainsFunc(m.byName[m.full.of(tag)], func(img *Image) bool { return slices.Contains(owners[n], img) }) {
				return false
			}
		}
	}
	for n := range items {
		for _, img := range owners[n] {
			img.contents.(*ociImage).items[configs[n]] = &items[n]
		}
	}
	return true
}

// Tree returns what an image leads to. ok is false if a part of it is not there, or that is
// not known.
func (c *Catalog) Tree(top digest.Digest) (t image.Tree, ok bool) {
	t, ok = c.trees[top]
	return t, ok
}

// checkHint returns an error for a manifest of the image that is another one than the listing of
// the entries says.
func (i *ociImage) checkHint(doc *image.Fields) error {
	if tree, ok := i.catalog.hints[i.descriptor.Digest]; ok && doc.Config != nil && !slices.Contains(tree.Configs, doc.Config.Digest) {
		return errdef.Errorf(errdef.ErrDamaged, "%s has another config for the image than its manifest, %s", tarfile.ListingName, doc.Config.Digest)
	}
	return nil
}

// add applies an item of manifest.json to the image of index.json that it describes, or
// returns the image that only it knows.
func (m *merging) add(item manifestItem) *Image {
	d, err := m.catalog.configDigest(item)
	owners := m.byConfig[d]
	if err != nil {
		owners = nil
	}
	var tags []string // that index.json does not have
	known := false
	for _, tag := range item.RepoTags {
		others := m.byName[m.full.of(tag)]
		switch {
		case len(others) == 0:
			tags = append(tags, tag)
		case slices.ContainsFunc(others, func(other *Image) bool { return slices.Contains(owners, other) || m.incomplete[other] }):
			known = true
			if m.unreadable[others[0]] && len(others) == 1 {
				others[0].contents.(*ociImage).namesake = &item
			}
			if !slices.ContainsFunc(others, func(other *Image) bool { return slices.Contains(owners, other) }) {
				m.catalog.rivals = append(m.catalog.rivals, rival{tag, item.Config})
			}
		default:
			if i := others[0].contents.(*ociImage); len(others) == 1 && i.namesake == nil {
				i.namesake = &item
			}
			for _, other := range others {
				other.warnings = append(other.warnings, fmt.Sprintf("%s has the name %s for another image, with the config %s; %s is taken", manifestJSON, printable.String(tag), printable.String(item.Config), indexJSON))
			}
		}
	}
	for _, img := range owners {
		img.contents.(*ociImage).items[d] = &item
	}
	switch {
	case len(owners) > 0:
		owners[0].addTags(tags)
		return nil
	case known && len(tags) == 0:
		return nil // The config is not there, and both files say the same.
	}
	item.RepoTags = tags
	return m.catalog.dockerImage(item) // Opening it reports what is wrong.
}

// rival is an image that manifest.json has under a name for which index.json has another.
// Where a part of that is not in the archive, reading it takes them for the same.
type rival struct{ name, config string }

// addTags adds full names to what index.json calls the image. It may have had
// no more than their tags.
func (img *Image) addTags(tags []string) {
	if len(tags) == 0 {
		return
	}
	short, known := map[string]bool{}, map[string]bool{}
	for _, tag := range tags {
		short[tag[strings.LastIndexByte(tag, ':')+1:]] = true
	}
	img.Names = slices.DeleteFunc(img.Names, func(name string) bool { return short[name] })
	for _, name := range img.Names {
		known[name] = true
	}
	for _, tag := range tags {
		if !known[tag] {
			known[tag] = true
			img.Names = append(img.Names, tag)
		}
	}
}

// walk calls visit for the manifest or index that d describes and, if it is an
// index, for all that it leads to, each once and an index before its manifests.
// If one cannot be read, visit gets the error. visit's own error ends the walk.
func walk(files *tarfile.Index, d v1.Descriptor, visit func(d v1.Descriptor, data []byte, doc *image.Fields, err error) error) error {
	seen := map[digest.Digest]bool{}
	var step func(d v1.Descriptor, depth int) error
	step = func(d v1.Descriptor, depth int) error {
		if seen[d.Digest] {
			return nil
		}
		seen[d.Digest] = true
		if depth > image.MaxIndexDepth {
			return visit(d, nil, nil, fmt.Errorf("%w: indexes nested more than %d deep", errdef.ErrLimit, image.MaxIndexDepth))
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
	return step(d, 0)
}
