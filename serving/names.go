package serving

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
	imagedoc "github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/naming"
)

const (
	dockerHub     = "docker.io"
	dockerLibrary = "library/"
	defaultTag    = "latest"
)

// image is an image in an archive.
type image struct {
	names    []string
	from     *opened
	position int // in that
	// made is an index of several images of an archive, which is no image there.
	made *archive.Manifest
	// about are the subjects of the image by its tags, as of cosign's signatures.
	about []digest.Digest
}

// open returns the image in its archive, which is open until done is called.
func (i *image) open(ctx context.Context) (img *archive.Image, done func(), err error) {
	a, done, err := i.from.use(ctx)
	if err != nil {
		return nil, nil, i.from.explain(err)
	}
	if i.position >= len(a.All()) { // It has been replaced and opened again.
		done()
		return nil, nil, ErrReplaced
	}
	return a.All()[i.position], done, nil
}

// find returns a manifest or an index by its digest, or the image's own if the digest
// is empty, with a media type that it can be sent as.
func (i *image) find(ctx context.Context, d digest.Digest) (*archive.Manifest, error) {
	if i.made != nil {
		return i.made, nil // It has no other.
	}
	img, done, err := i.open(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var m *archive.Manifest
	if d == "" {
		m, err = img.Manifest(ctx)
	} else {
		m, err = img.Instance(ctx, d)
	}
	if errors.Is(err, errdef.ErrDamaged) {
		// An image that contradicts itself may still be of use to the client, and matches
		// its digest.
		if stored, other := img.Stored(ctx, d); other == nil {
			m, err = stored, nil
		}
	}
	if err != nil {
		return nil, i.from.explain(err)
	}
	m.MediaType = manifestType(m)
	return m, nil
}

// blob returns a blob, which can be read until done is called.
func (i *image) blob(ctx context.Context, d digest.Digest) (b *archive.Blob, done func(), err error) {
	img, done, err := i.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	if b, err = img.Blob(ctx, d); err != nil {
		done()
		return nil, nil, i.from.explain(err)
	}
	return b, done, nil
}

// repository is the content under a name without a tag.
type repository struct {
	tags   map[string]*image
	images map[*image]bool     // also those without a tag
	rivals map[string][]*image // of the same archive, for a tag that another has
}

// directory is where repositories are found.
type directory map[string]*repository

// add makes an image known by a name, with a tag unless that is empty. It reports
// whether the tag is this image's.
func (d directory) add(name, tag string, img *image) bool {
	r := d[name]
	if r == nil {
		r = &repository{tags: map[string]*image{}, images: map[*image]bool{}, rivals: map[string][]*image{}}
		d[name] = r
	}
	r.images[img] = true
	if tag == "" {
		return true
	}
	switch first := r.tags[tag]; {
	case first == nil:
		r.tags[tag] = img
	case first != img && first.from == img.from:
		r.rivals[tag] = append(r.rivals[tag], img)
	}
	return r.tags[tag] == img
}

// names are the repositories of archives, by all that they are called.
type names struct {
	full    directory // with the host
	paths   directory
	aliases directory // other ways to say either
	listed  []string  // for the catalog, in its order
	made    []*image  // indexes
	// digestTags are images by tags that name a digest: they belong to every repository
	// that has this digest, too, with any name that they had when they were saved.
	digestTags map[string]*image
}

func newNames(ctx context.Context, images []*image) *names {
	n := &names{full: directory{}, paths: directory{}, aliases: directory{}, digestTags: map[string]*image{}}
	hidden := map[string]bool{} // full names whose path means another image
	for _, img := range images {
		known := false
		for _, name := range img.names {
			known = n.addName(name, img, hidden) || known
		}
		if !known {
			n.paths.add(fileName(img.from.path), unnamedTag(img), img)
		}
	}
	n.combine(ctx)
	for name := range n.paths {
		n.listed = append(n.listed, name)
	}
	for name := range hidden {
		n.listed = append(n.listed, name)
	}
	slices.Sort(n.listed)
	n.listed = slices.Compact(n.listed)
	return n
}

// addName makes an image known by one of its names. It returns false for an invalid
// one.
func (n *names) addName(name string, img *image, hidden map[string]bool) bool {
	if !strings.ContainsAny(name, "/:@") { // An OCI layout may call an image by its tag only.
		if !naming.IsTag(name) {
			return false
		}
		n.paths.add(fileName(img.from.path), name, img)
		return true
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return false
	}
	tag := ""
	if tagged, ok := reference.TagNameOnly(named).(reference.Tagged); ok {
		tag = tagged.Tag()
	}
	if subject, _, ok := imagedoc.ParseDigestTag(tag); ok {
		img.about = append(img.about, subject)
		if n.digestTags[tag] == nil {
			n.digestTags[tag] = img
		}
	}
	host, path := reference.Domain(named), reference.Path(named)
	full := strings.ToLower(strings.ReplaceAll(host, ":", "-")) + "/" + path
	mine := n.full.add(full, tag, img)
	if host+"/"+path != full {
		n.aliases.add(host+"/"+path, tag, img)
	}
	if !n.paths.add(path, tag, img) && mine {
		hidden[full] = true
	}
	if short, ok := strings.CutPrefix(path, dockerLibrary); ok && host == dockerHub {
		n.aliases.add(short, tag, img)
	}
	return true
}

// combine makes indexes of images that an archive has under one name for different
// platforms.
func (n *names) combine(ctx context.Context) {
	known := map[string]*image{}
	for _, d := range []directory{n.full, n.paths, n.aliases} {
		for _, r := range d {
			for tag, rivals := range r.rivals {
				made := combined(ctx, append([]*image{r.tags[tag]}, rivals...))
				if made == nil {
					continue // The first one is meant.
				}
				if known[made.made.Digest.String()] == nil {
					known[made.made.Digest.String()] = made
					n.made = append(n.made, made)
				}
				made = known[made.made.Digest.String()]
				r.tags[tag], r.images[made] = made, true
			}
		}
	}
}

// combined returns an index of images, nil if these are not for different platforms.
func combined(ctx context.Context, images []*image) *image {
	index := imgspecv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex}
	seen := map[string]bool{}
	for _, img := range images {
		m, err := img.find(ctx, "")
		if err != nil || m.Platform == nil {
			return nil
		}
		platform := strings.Join([]string{m.Platform.OS, m.Platform.Architecture, m.Platform.Variant, m.Platform.OSVersion}, "/")
		if seen[platform] {
			return nil
		}
		seen[platform] = true
		index.Manifests = append(index.Manifests, imgspecv1.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size, Platform: m.Platform})
	}
	data, err := json.Marshal(index)
	if err != nil {
		return nil
	}
	descriptor := imgspecv1.Descriptor{MediaType: index.MediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	return &image{from: images[0].from, made: &archive.Manifest{Descriptor: descriptor, Data: data, Made: true}}
}

// find returns a repository, nil if there is none. namespace is the registry for
// which a client takes this one, if it says so.
func (n *names) find(namespace, name string) *repository {
	if namespace != "" {
		if namespace == "index.docker.io" || namespace == "registry-1.docker.io" {
			namespace = dockerHub
		}
		name = strings.ToLower(strings.ReplaceAll(namespace, ":", "-")) + "/" + name
		return n.full[name]
	}
	for _, d := range []directory{n.full, n.paths, n.aliases} {
		if r := d[name]; r != nil {
			return r
		}
	}
	return nil
}

// unnamedTag returns the tag of an image without a name: the one that it has if it is
// the only one in its archive.
func unnamedTag(img *image) string {
	if len(img.from.images) == 1 {
		return defaultTag
	}
	return ""
}

// notInName matches characters that cannot be in a repository's name.
var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// fileName returns the repository that is called as a file.
func fileName(path string) string {
	base, _, _ := strings.Cut(strings.TrimLeft(filepath.Base(path), "."), ".")
	if name := strings.Trim(notInName.ReplaceAllString(strings.ToLower(base), "-"), "-"); name != "" {
		return name
	}
	return "archive"
}
