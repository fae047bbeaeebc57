package selecting

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	ctrimage "go.podman.io/image/v5/image"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// newReferrer returns a referrer that answers a question, at its place in the repository.
func newReferrer(q question, ref reference.Named) (*Image, error) {
	source, err := docker.NewReference(ref)
	if err != nil {
		return nil, err
	}
	return &Image{
		Wanted: Wanted{Source: source, SourceCtx: q.about.SourceCtx},
		blobs:  q.about.blobs,
		found:  map[digest.Digest]*image.Document{},
		about:  &referrer{parents: []*Image{q.about}, subject: q.subject},
	}, nil
}

// roots returns the images that were asked for and that i is or is about.
func (i *Image) roots() []*Image {
	var roots []*Image
	seen := map[*Image]bool{}
	var visit func(img *Image)
	visit = func(img *Image) {
		if seen[img] {
			return // A tag may hold its own subject.
		}
		seen[img] = true
		if img.about == nil {
			roots = append(roots, img)
			return
		}
		for _, parent := range img.about.parents {
			visit(parent)
		}
	}
	visit(i)
	return roots
}

// leaveOut records why a referrer is not saved.
func (i *Image) leaveOut(format string, args ...any) {
	i.about.keep = false
	i.Warn("%s is left out: %s", i.key(), fmt.Sprintf(format, args...))
}

// Subject returns the digest that a referrer is about, or "".
func (i *Image) Subject() digest.Digest {
	if i.about == nil {
		return ""
	}
	return i.about.subject
}

// key tells referrers apart.
func (i *Image) key() string {
	if i.Name != nil {
		return i.Name.String()
	}
	return i.Digest.String()
}

// subjects returns the digests of an image's documents in the archive, without
// attestations of BuildKit, which have no referrers.
func (i *Image) subjects() []digest.Digest {
	attestations := map[digest.Digest]bool{}
	for _, document := range i.Documents {
		for _, listed := range document.Manifests {
			attestations[listed.Digest] = listed.Annotations[attestedDigest] != ""
		}
	}
	var subjects []digest.Digest
	for _, document := range i.Documents {
		if d := document.Descriptor.Digest; !attestations[d] && !slices.Contains(subjects, d) {
			subjects = append(subjects, d)
		}
	}
	return subjects
}

// resolveReferrersTag reads an index of referrers that is asked for by its tag. The
// archive gets the referrers in it that are asked for too.
func (s *Selection) resolveReferrersTag(ctx context.Context, top *ctrimage.UnparsedImage, raw []byte, mimeType string) (*image.Document, error) {
	if err := s.allow(ctx, top); err != nil {
		return nil, err
	}
	return image.ParseDocument(raw, mimeType)
}

// isReferrersTag reports whether an image has the name of an index that lists the
// referrers of another.
func (i *Image) isReferrersTag() bool {
	_, kind, ok := image.ParseDigestTag(i.name())
	return ok && kind == image.TagReferrers
}

// IsReferrer reports whether an image that has been resolved is about another, found
// because of that or asked for.
func (i *Image) IsReferrer() bool {
	if i.about != nil {
		return true
	}
	if name := i.name(); name != "" {
		_, _, ok := image.ParseDigestTag(name)
		return ok
	}
	return i.Documents[len(i.Documents)-1].Subject != nil
}

// isAbout reports whether an index without a name is about something: it is taken as
// it is, and no platform chosen from it.
func (i *Image) isAbout(raw []byte, mimeType string) bool {
	document, err := image.ParseDocument(raw, mimeType)
	return i.name() == "" && err == nil && document.Subject != nil
}

// resolve reads the manifests of a referrer, and finds out whether it is to be saved.
// It does not read the manifests that a referrers tag lists: they are found by
// themselves.
func (g *gathering) resolve(ctx context.Context, r *Image) error {
	if err := g.openReferrer(ctx, r); err != nil {
		return err
	}
	s := g.selection
	top, err := s.referrerDocument(ctx, r, r.Digest)
	if err != nil {
		return err
	}
	if r.about.isList {
		r.about.keep, r.Documents = true, []*image.Document{top}
		return nil
	}
	if !s.wanted(top) {
		return nil
	}
	if err := s.Layout.Check(top); err != nil {
		r.leaveOut("%v", err)
		return nil
	}
	if r.Name == nil && (top.Subject == nil || top.Subject.Digest != r.about.subject) {
		r.leaveOut("it is listed as a referrer of %s, but is not about that", r.about.subject)
		return nil
	}
	r.Documents, err = image.Order(top, func(listed imgspecv1.Descriptor) (*image.Document, error) {
		return s.referrerDocument(ctx, r, listed.Digest)
	})
	r.about.keep = err == nil
	return err
}

// wanted reports whether a referrer has one of the types that are asked for.
func (s *Selection) wanted(document *image.Document) bool {
	types := s.options.Referrers.ArtifactTypes
	if len(types) == 0 || slices.Contains(types, document.ArtifactType) {
		return true
	}
	return slices.ContainsFunc(document.Layers, func(l imgspecv1.Descriptor) bool {
		return !image.IsLayerType(l.MediaType) && slices.Contains(types, l.MediaType)
	})
}

// referrerDocument reads a manifest or an index of a referrer.
func (s *Selection) referrerDocument(ctx context.Context, r *Image, d digest.Digest) (*image.Document, error) {
	if document := r.found[d]; document != nil {
		return document, nil
	}
	raw, mimeType, err := s.of(r).manifest(ctx, ctrimage.UnparsedInstance(r.blobs.Source(), &d))
	if err != nil {
		return nil, fmt.Errorf("referrer %s of %s: %w", d, r.about.subject, err)
	}
	document, err := image.ParseDocument(raw, mimeType)
	if err != nil {
		return nil, fmt.Errorf("parsing referrer %s of %s: %w", d, r.about.subject, err)
	}
	document.Descriptor.Digest = d // The digest in the registry.
	r.found[d] = document
	return document, nil
}

// openReferrer opens a source of its own for a referrer if the source of its image may
// lack it: a mirror has only what has been put there.
func (g *gathering) openReferrer(ctx context.Context, r *Image) error {
	s, repo := g.selection, r.Source.DockerReference()
	mirrored, err := s.client(r).Mirrored(repo)
	if err != nil || !mirrored {
		return err
	}
	ref, err := reference.WithDigest(reference.TrimNamed(repo), r.Digest)
	if err != nil {
		return err
	}
	source, err := docker.NewReference(ref)
	if err != nil {
		return err
	}
	return s.of(r).retry(ctx, func(ctx context.Context) error {
		src, err := source.NewImageSource(ctx, sources.Opening(s.sourceCtx(r), source, false))
		if err != nil {
			return err
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		s.opened = append(s.opened, src)
		r.blobs = sources.New(src, s.client(r))
		r.blobs.Waiting = s.Waiting
		return nil
	})
}
