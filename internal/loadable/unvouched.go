package loadable

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// Vouch returns nil if somebody vouches for a manifest or an index as the image of a
// repository; with "", under any name. Otherwise it returns why nobody does.
type Vouch func(d digest.Digest, repository string) error

var errNoManifest = errors.New("the archive has no manifest of it that a signature could be of")

// Unvouched returns a problem for every image that some client loads and nobody vouches
// for, each with its name. Vouching for an index covers everything that it lists. An index
// for which nobody vouches passes if somebody vouches for all of its manifests that are
// there. Only documents that no client can run are left out: those of an index that are for
// no platform, and those about another image.
//
// It looks at documents and names, and takes for granted that blobs match their digests and
// layers their configs: package catalog checks that. The error is that of ctx.
func (a *Archive) Unvouched(ctx context.Context, vouch Vouch) ([]error, error) {
	c := &checker{
		Archive: a, vouch: vouch, known: map[claim]error{}, complete: map[claim]error{}, inert: map[kind]bool{},
		accepted: map[digest.Digest]bool{}, reported: map[digest.Digest]bool{},
	}
	if err := c.ambiguities(ctx); err != nil {
		return nil, err
	}
	for _, named := range []bool{true, false} { // An image without a name may be known by another one's.
		for _, top := range a.tops {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			c.top(top, named)
		}
		for n, i := range a.items {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			c.item(n, i, named)
		}
	}
	if len(a.legacy) > 0 && (len(a.items) == 0 || len(a.tops) > 0) { // Else the same images are in manifest.json.
		for _, id := range a.legacy {
			c.problem(id+"/json", fmt.Errorf("docker may load it as an image; %w", errNoManifest))
		}
	}
	return c.problems, nil
}

// checker finds images for which nobody vouches.
type checker struct {
	*Archive
	vouch    Vouch
	known    map[claim]error        // by whom a document is vouched for, or an index that lists it
	complete map[claim]error        // the same, or all that it leads to
	inert    map[kind]bool          // whether no client runs it
	accepted map[digest.Digest]bool // digests that somebody vouches for under one of their names
	reported map[digest.Digest]bool // tops that a problem names
	problems []error
}

type claim struct {
	digest     digest.Digest
	repository string
	about      bool
}

type kind struct {
	digest         digest.Digest
	about, unknown bool
}

func (c *checker) problem(label string, err error) {
	c.problems = append(c.problems, fmt.Errorf("%s: %w", printable.String(label), err))
}

// top looks at something that index.json lists.
func (c *checker) top(top v1.Descriptor, named bool) {
	full, lone := namesOf(top)
	about := isDigestTagged(full) || len(full) == 0 && (top.Annotations[image.AnnotationSubject] != "" || image.CosignTag(top, c.cosign) != "")
	if c.skips(v1.Descriptor{Digest: top.Digest}, about) || c.reported[top.Digest] {
		return
	}
	label := top.Digest.String()
	if len(full) > 0 {
		label = full[0]
	} else if lone != "" {
		label = lone
	}
	if named != (len(full) > 0) {
		return
	}
	repositories, err := repositoriesOf(full)
	for _, repository := range repositories {
		err = errors.Join(err, c.covered(top, repository, about))
	}
	switch {
	case lone != "":
		err = errors.Join(err, c.covered(top, "", about))
	case !named:
		err = c.nameless(top, about)
	}
	if err != nil {
		c.reported[top.Digest] = true
		c.problem(label, err)
	}
}

// nameless returns why nobody vouches for an image without a repository.
func (c *checker) nameless(top v1.Descriptor, about bool) error {
	err := c.covered(top, "", about)
	if err == nil || c.isAccepted(top.Digest, map[digest.Digest]bool{}) {
		return nil
	}
	return err
}

// isAccepted reports whether a document, or an index that it is in, is vouched for under a
// name that the archive has elsewhere.
func (c *checker) isAccepted(d digest.Digest, seen map[digest.Digest]bool) bool {
	if c.accepted[d] {
		return true
	}
	doc := c.documents[d]
	if doc == nil || seen[d] {
		return false
	}
	seen[d] = true
	return slices.ContainsFunc(doc.parents, func(p digest.Digest) bool { return c.isAccepted(p, seen) })
}

// repositoriesOf returns the repositories of full names, each once.
func repositoriesOf(full []string) (repositories []string, err error) {
	for _, name := range full {
		repository, ok := repositoryOf(name)
		if !ok {
			err = errors.Join(err, fmt.Errorf("%q is no name that a signature could be for", name))
		} else if !slices.Contains(repositories, repository) {
			repositories = append(repositories, repository)
		}
	}
	return repositories, err
}

// vouched returns why nobody vouches for a document, or for an index that lists it.
func (c *checker) vouched(d digest.Digest, repository string) error {
	key := claim{digest: d, repository: repository}
	if err, ok := c.known[key]; ok {
		return err
	}
	err := c.vouch(d, repository)
	if err == nil {
		c.accepted[d] = true
	}
	c.known[key] = err
	if doc := c.documents[d]; err != nil && doc != nil {
		for _, p := range doc.parents {
			if c.vouched(p, repository) == nil {
				err = nil
				break
			}
		}
	}
	c.known[key] = err
	return err
}

// covered returns why a document is not vouched for, nor all that it leads to. about is set
// for a document with a subject in this archive.
func (c *checker) covered(d v1.Descriptor, repository string, about bool) error {
	key := claim{d.Digest, repository, about}
	err, ok := c.complete[key]
	if !ok {
		err = c.cover(d, repository, about)
		c.complete[key] = err
	}
	return err
}

func (c *checker) cover(d v1.Descriptor, repository string, about bool) error {
	own := c.vouched(d.Digest, repository)
	doc := c.documents[d.Digest]
	if own == nil || doc.Err != nil || doc.Fields.Manifests == nil || doc.Fields.Config != nil {
		return own
	}
	if err := c.unambiguous(d.Digest); err != nil {
		return err
	}
	about = about || doc.Fields.Subject != nil
	checked := 0
	var failed error
	for _, child := range doc.Fields.Manifests {
		if isAbsent(c.documents[child.Digest].Err) || c.skips(child, about) {
			continue
		}
		if err := c.covered(child, repository, about); err != nil {
			failed = fmt.Errorf("%s: %w", printable.String(describe(child)), err)
			continue
		}
		if full, _ := names(child); len(full) > 0 { // umoci looks for names in every index.
			if _, err := repositoriesOf(full); err != nil {
				return err
			}
			for _, name := range full {
				if r, ok := repositoryOf(name); ok && r != repository {
					if err := c.covered(child, r, about); err != nil {
						return fmt.Errorf("%s: %w", printable.String(name), err)
					}
				}
			}
		}
		checked++
	}
	if checked == 0 {
		return own
	}
	return failed
}

func describe(d v1.Descriptor) string {
	if p := image.PlatformString(d.Platform); p != "" {
		return p
	}
	return d.Digest.String()
}

// skips reports whether no client runs a document, or anything that it leads to. about is
// set for a document with a subject in this archive.
func (c *checker) skips(d v1.Descriptor, about bool) bool {
	key := kind{d.Digest, about, isUnknown(d)}
	inert, ok := c.inert[key]
	if !ok {
		inert = c.runsNowhere(d, about)
		c.inert[key] = inert
	}
	return inert
}

func (c *checker) runsNowhere(d v1.Descriptor, about bool) bool {
	doc := c.documents[d.Digest]
	if doc.Err != nil {
		return false
	}
	about = about || doc.Fields.Subject != nil && doc.Fields.Subject.Digest.Validate() == nil
	if doc.Fields.Manifests != nil && doc.Fields.Config == nil {
		return about && !slices.ContainsFunc(doc.Fields.Manifests, func(child v1.Descriptor) bool {
			return !isAbsent(c.documents[child.Digest].Err) && !c.skips(child, true)
		})
	}
	return (about || isUnknown(d)) && c.isInert(doc)
}

// item looks at an image of manifest.json.
func (c *checker) item(n int, i item, named bool) {
	if named != (len(i.RepoTags) > 0) {
		return
	}
	label := fmt.Sprintf("image %d of %s", n, manifestJSON)
	if named {
		label = i.RepoTags[0] + " in " + manifestJSON
	}
	if i.err != nil {
		c.problem(label, fmt.Errorf("config: %w", i.err))
		return
	}
	var manifests []*Document
	for _, d := range i.digests {
		manifests = append(manifests, c.byConfig[d]...)
	}
	if len(manifests) == 0 {
		c.problem(label, errNoManifest)
		return
	}
	if slices.ContainsFunc(manifests, func(doc *Document) bool { return c.isReported(doc.Digest, map[digest.Digest]bool{}) }) {
		return // As has been said.
	}
	repositories, err := repositoriesOf(i.RepoTags)
	for _, repository := range repositories {
		err = errors.Join(err, c.itemVouched(i, manifests, func(doc *Document) error { return c.vouched(doc.Digest, repository) }))
	}
	if !named {
		err = c.itemVouched(i, manifests, func(doc *Document) error {
			return c.nameless(v1.Descriptor{Digest: doc.Digest}, false)
		})
	}
	if err != nil {
		c.problem(label, err)
	}
}

// isReported reports whether there is a problem with a document, or with one that lists it.
func (c *checker) isReported(d digest.Digest, seen map[digest.Digest]bool) bool {
	if c.reported[d] {
		return true
	}
	if seen[d] {
		return false
	}
	seen[d] = true
	return slices.ContainsFunc(c.documents[d].parents, func(p digest.Digest) bool { return c.isReported(p, seen) })
}

// itemVouched returns why none of the manifests with an item's config vouches for it.
func (c *checker) itemVouched(i item, manifests []*Document, vouched func(*Document) error) error {
	var first error
	for _, doc := range manifests {
		err := vouched(doc)
		if err == nil {
			err = agrees(i, doc)
		}
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// agrees compares an item with the manifest that has its config: crane takes the layers
// that have URLs from where the item says.
func agrees(i item, doc *Document) error {
	for diffID, source := range i.LayerSources {
		if !slices.ContainsFunc(doc.Fields.Layers, func(l v1.Descriptor) bool { return l.Digest == source.Digest }) {
			return errdef.Errorf(errdef.ErrDamaged, "it has %s as the source of the layer %s, which manifest %s has not", source.Digest, diffID, doc.Digest)
		}
	}
	return nil
}
