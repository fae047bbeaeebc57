// Package loadable finds every image that some client loads from an archive, and tells
// for which of them nobody vouches.
//
// Clients read different documents of an archive: Docker 20, podman, skopeo and crane
// manifest.json, Docker 29, containerd, BuildKit and oci-archive: index.json, and Docker
// takes directories of layers if there is no manifest.json. This package believes none of
// the documents more than another. Package catalog, which decides what an archive means,
// is of no use here: an attacker wants one client to see something else than another.
//
// It knows no signatures: its caller says which digests are vouched for.
package loadable

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

const (
	indexJSON        = v1.ImageIndexFile
	manifestJSON     = "manifest.json"
	repositoriesFile = "repositories"

	// maxTable bounds a table of contents, as in package catalog.
	maxTable = 8 << 20
	// maxDepth bounds how deeply indexes may be nested. Clients have no such bound, so a
	// deeper index is not skipped, but refused.
	maxDepth = 16

	containerdName = "io.containerd.image.name"
)

// Archive is the content of an archive as clients see it. Its methods may be called
// concurrently.
type Archive struct {
	files     *tarfile.Index
	tops      []v1.Descriptor // of index.json, each as it is there
	cosign    digest.Digest   // the image of an index.json that cosign wrote
	items     []item          // of manifest.json
	legacy    []string        // directories that are images of Docker before 1.10
	documents map[digest.Digest]*Document
	byConfig  map[digest.Digest][]*Document
	fullNames map[digest.Digest][]string // of all tops with a digest
}

// Document is a manifest or an index that index.json leads to.
type Document struct {
	Digest digest.Digest
	Fields *image.Fields
	// Err is why it cannot be read. It wraps fs.ErrNotExist if it is not there.
	Err error

	parents []digest.Digest // the indexes that list it
	depth   int
}

// item is an image of manifest.json.
type item struct {
	Config       string
	RepoTags     []string
	Layers       []string
	LayerSources map[digest.Digest]v1.Descriptor

	digests []digest.Digest // of the config, by every algorithm
	err     error           // why it cannot be read
}

// Open reads the tables of contents of an archive and all documents that they lead to.
// The error is for a table that cannot be read, and that of ctx.
func Open(ctx context.Context, files *tarfile.Index) (*Archive, error) {
	a := &Archive{
		files: files, documents: map[digest.Digest]*Document{}, byConfig: map[digest.Digest][]*Document{},
		fullNames: map[digest.Digest][]string{},
	}
	var index image.Fields
	if err := a.table(indexJSON, &index); err != nil {
		return nil, err
	}
	a.tops = append(index.Manifests, image.CosignUnlisted(index.Manifests, files.Names(), func(path string) []byte {
		return files.ReadPrefixed(path, "{", image.MaxDocument)
	})...)
	a.cosign = image.CosignSubject(a.tops)
	for _, top := range a.tops {
		full, _ := names(top)
		a.fullNames[top.Digest] = append(a.fullNames[top.Digest], full...)
	}
	if err := a.table(manifestJSON, &a.items); err != nil {
		return nil, err
	}
	for n := range a.items {
		a.readConfig(&a.items[n])
	}
	a.findLegacy()
	return a, a.walk(ctx)
}

// table reads a table of contents, if there is one.
func (a *Archive) table(name string, v any) error {
	if !a.files.Has(name) {
		return nil
	}
	data, err := a.files.ReadFile(name, maxTable)
	if err != nil {
		return err
	}
	return image.Decode(name, data, v)
}

// readConfig finds the digests by which manifests may know the config of an item.
func (a *Archive) readConfig(i *item) {
	var data []byte
	if data, i.err = a.files.ReadFile(i.Config, image.MaxDocument); i.err == nil {
		i.digests = []digest.Digest{digest.SHA256.FromBytes(data), digest.SHA384.FromBytes(data), digest.SHA512.FromBytes(data)}
	}
}

// findLegacy finds directories that Docker loads as images if there is no manifest.json,
// and Docker before 1.10 always.
func (a *Archive) findLegacy() {
	for name := range a.files.Names() {
		id, ok := strings.CutSuffix(name, "/json")
		if ok && !strings.Contains(id, "/") && a.files.Has(id+"/layer.tar") {
			a.legacy = append(a.legacy, id)
		}
	}
}

// walk reads all documents that index.json leads to, an index before its manifests.
func (a *Archive) walk(ctx context.Context) error {
	var queue []*Document
	note := func(d digest.Digest, parent *Document) {
		doc := a.documents[d]
		if doc == nil {
			doc = &Document{Digest: d}
			if parent != nil {
				doc.depth = parent.depth + 1
			}
			a.documents[d] = doc
			queue = append(queue, doc)
		}
		if parent != nil && !slices.Contains(doc.parents, parent.Digest) {
			doc.parents = append(doc.parents, parent.Digest)
		}
	}
	for _, top := range a.tops {
		note(top.Digest, nil)
	}
	for len(queue) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		doc := queue[0]
		queue = queue[1:]
		a.read(doc)
		if doc.Err != nil {
			continue
		}
		if doc.Fields.Config != nil {
			a.byConfig[doc.Fields.Config.Digest] = append(a.byConfig[doc.Fields.Config.Digest], doc)
		}
		for _, child := range doc.Fields.Manifests {
			note(child.Digest, doc)
		}
	}
	return nil
}

func (a *Archive) read(doc *Document) {
	if doc.depth > maxDepth {
		doc.Err = errdef.Errorf(errdef.ErrLimit, "indexes nested more than %d deep", maxDepth)
		return
	}
	var data []byte
	if data, doc.Err = a.Blob(doc.Digest); doc.Err != nil {
		return
	}
	doc.Fields = &image.Fields{}
	doc.Err = image.Decode(doc.Digest.String(), data, doc.Fields)
}

// Documents returns all manifests and indexes that index.json leads to, in no order.
func (a *Archive) Documents() []*Document {
	all := make([]*Document, 0, len(a.documents))
	for _, doc := range a.documents {
		all = append(all, doc)
	}
	slices.SortFunc(all, func(a, b *Document) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	return all
}

// About returns the image that a document refers to by its tag in index.json, "" if there
// is no such tag.
func (a *Archive) About(d digest.Digest) digest.Digest {
	for _, name := range a.fullNames[d] {
		if subject, _, ok := image.ParseDigestTag(name); ok {
			return subject
		}
	}
	for _, top := range a.tops {
		if top.Digest == d && image.CosignTag(top, a.cosign) != "" {
			return a.cosign
		}
	}
	return ""
}

// Blob returns the document, or another small blob, of a digest, verified. The error wraps
// fs.ErrNotExist if it is not there.
func (a *Archive) Blob(d digest.Digest) ([]byte, error) {
	name, err := blobName(d)
	if err != nil {
		return nil, err
	}
	data, err := a.files.ReadFile(name, image.MaxDocument)
	if err != nil {
		return nil, err
	}
	if got := d.Algorithm().FromBytes(data); got != d {
		return nil, &errdef.MismatchError{Name: name, Want: d, Got: got}
	}
	return data, nil
}

func blobName(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", errdef.Errorf(errdef.ErrDamaged, "digest %q: %w", d, err)
	}
	return v1.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded(), nil
}

func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// repositoryOf returns the repository of a full name. ok is false for an invalid name.
func repositoryOf(name string) (repository string, ok bool) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", false
	}
	return named.Name(), true
}
