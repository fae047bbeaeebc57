package selecting

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Bounds of an image's referrers.
const (
	maxReferrerDepth = 8    // of referrers to referrers
	maxReferrers     = 4096 // of all images
)

// gatherReferrers finds the referrers of the images and adds them, in an order that
// depends on nothing else: first those without a name by digest, then digest tags by
// name.
func (s *Selection) gatherReferrers(ctx context.Context) error {
	if s.options.Referrers == nil {
		return nil
	}
	g := &gathering{selection: s, found: map[string]*Image{}}
	var about []*Image
	for img := range s.Good() {
		if img.Source.Transport().Name() != docker.Transport.Name() {
			img.Warn("no signatures or SBOMs saved: the source is not a registry")
			continue
		}
		about = append(about, img)
	}
	if err := g.warnOfIndexes(ctx, about); err != nil {
		return err
	}
	for depth := 0; len(about) > 0; depth++ {
		if depth > maxReferrerDepth {
			return fmt.Errorf("%w: referrers of referrers more than %d deep", errdef.ErrLimit, maxReferrerDepth)
		}
		var err error
		if about, err = g.level(ctx, about); err != nil {
			return err
		}
	}
	g.add()
	return nil
}

// level finds the direct referrers of images, and returns the new ones that may have
// referrers themselves.
func (g *gathering) level(ctx context.Context, about []*Image) ([]*Image, error) {
	var questions []question
	for _, img := range about {
		for _, subject := range img.subjects() {
			questions = append(questions, question{img, subject})
		}
	}
	answers := make([][]*Image, len(questions))
	err := g.each(ctx, len(questions), func(n int) *Image { return questions[n].about }, func(ctx context.Context, n int) (err error) {
		answers[n], err = g.ask(ctx, questions[n])
		return err
	})
	if err != nil {
		return nil, err
	}
	var found []*Image
	for _, r := range slices.Concat(answers...) {
		if known := g.found[r.key()]; known != nil {
			known.about.parents = append(known.about.parents, r.about.parents...)
			continue
		}
		g.found[r.key()] = r
		found = append(found, r)
	}
	if len(g.found) > maxReferrers {
		return nil, fmt.Errorf("%w: more than %d referrers", errdef.ErrLimit, maxReferrers)
	}
	err = g.each(ctx, len(found), func(n int) *Image { return found[n] }, func(ctx context.Context, n int) error {
		return g.resolve(ctx, found[n])
	})
	for _, r := range found {
		if !g.needed(r) { // Another image may need it later.
			delete(g.found, r.key())
		}
	}
	return slices.DeleteFunc(found, func(r *Image) bool { return !r.about.keep || r.about.isList }), err
}

// each calls f n times at once, each time for an image. A failure ends the images that
// it is about, or all.
func (g *gathering) each(ctx context.Context, n int, of func(n int) *Image, f func(ctx context.Context, n int) error) error {
	s := g.selection
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(s.options.Jobs)
	for i := range n {
		if !g.needed(of(i)) {
			continue
		}
		roots := of(i).roots()
		group.Go(func() error {
			err := f(gctx, i)
			if err == nil {
				return nil
			}
			for _, root := range roots {
				if err := s.Fail(root, err); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// needed reports whether something is about an image that has not failed.
func (g *gathering) needed(r *Image) bool {
	return slices.ContainsFunc(r.roots(), func(root *Image) bool { return g.selection.Err(root) == nil })
}

// ask returns the referrers of a manifest in a registry.
func (g *gathering) ask(ctx context.Context, q question) ([]*Image, error) {
	repo := q.about.Source.DockerReference()
	var listed []imgspecv1.Descriptor
	var hasAPI bool
	err := g.selection.of(q.about).retry(ctx, func(ctx context.Context) (err error) {
		listed, hasAPI, err = g.selection.client(q.about).Referrers(ctx, repo, q.subject)
		return err
	})
	if err != nil {
		return nil, err
	}
	kinds := []string{image.TagSignature, image.TagAttestation, image.TagSBOM}
	if !hasAPI {
		kinds = append(kinds, image.TagReferrers)
	}
	var found []*Image
	for _, kind := range kinds {
		r, err := g.tagged(ctx, q, kind)
		if err != nil {
			return nil, err
		}
		if r == nil {
			continue
		}
		found = append(found, r)
		if r.about.isList {
			listed = r.found[r.Digest].Manifests
		}
	}
	for _, d := range listed {
		ref, err := reference.WithDigest(reference.TrimNamed(repo), d.Digest)
		if err != nil {
			return nil, err
		}
		r, err := newReferrer(q, ref)
		if err != nil {
			return nil, err
		}
		r.Digest = d.Digest
		found = append(found, r)
	}
	return found, nil
}

// tagged returns the image under a digest tag of a subject, nil if there is none.
func (g *gathering) tagged(ctx context.Context, q question, kind string) (*Image, error) {
	name, err := reference.WithTag(reference.TrimNamed(q.about.Source.DockerReference()), image.DigestTag(q.subject, kind))
	if err != nil {
		return nil, err
	}
	var raw []byte
	var mediaType string
	err = g.selection.of(q.about).retry(ctx, func(ctx context.Context) (err error) {
		raw, mediaType, err = g.selection.client(q.about).Tagged(ctx, name, name.Tag())
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	document, err := image.ParseDocument(raw, mediaType)
	if err != nil {
		return nil, fmt.Errorf("parsing %s: %w", name, err)
	}
	if kind == image.TagReferrers && document.Descriptor.Digest == q.subject {
		return nil, nil // GitLab takes sha256-HEX for the digest.
	}
	r, err := newReferrer(q, name)
	if err != nil {
		return nil, err
	}
	r.Name, r.Digest = name, document.Descriptor.Digest
	r.found[r.Digest] = document
	r.about.isList = kind == image.TagReferrers
	if r.about.isList && !document.IsIndex() {
		return nil, fmt.Errorf("%s is no index of referrers", name)
	}
	return r, nil
}

// add adds the referrers that are to be saved to the images.
func (g *gathering) add() {
	s := g.selection
	var found []*Image
	for _, r := range g.found {
		if g.needed(r) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b *Image) int {
		if (a.Name == nil) != (b.Name == nil) {
			return strings.Compare(a.name(), b.name()) // "" is before any.
		}
		return strings.Compare(a.key(), b.key())
	})
	for _, r := range found {
		if r.about.isList {
			g.restrict(r)
		}
		for _, root := range r.roots() {
			root.Warnings = append(root.Warnings, r.Warnings...)
		}
		r.Warnings = nil
		if r.about.keep {
			s.add(r)
		}
	}
}

// restrict has the index of a referrers tag list the referrers that are saved. If there
// are none, the tag is not saved either.
func (g *gathering) restrict(r *Image) {
	var kept []digest.Digest
	for _, d := range r.Documents[0].Manifests {
		if listed := g.found[d.Digest.String()]; listed != nil && listed.about.keep {
			kept = append(kept, d.Digest)
		}
	}
	document, err := restricted(r.Documents[0], kept)
	if err != nil {
		r.leaveOut("%v", err)
		return
	}
	r.Documents, r.Digest = []*image.Document{document}, document.Descriptor.Digest
	r.about.keep = len(kept) > 0
}

// restricted returns an index that lists a part of another one.
func restricted(index *image.Document, kept []digest.Digest) (*image.Document, error) {
	parsed, err := ParseIndex(index.Raw)
	if err != nil {
		return nil, err
	}
	raw, _, err := parsed.only(kept)
	if err != nil {
		return nil, err
	}
	return image.ParseDocument(raw, index.Descriptor.MediaType)
}

// name returns the first name of the image in the archive, "" if there is none.
func (i *Image) name() string {
	for _, name := range i.AllNames() {
		return name
	}
	return ""
}
