package copying

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	ctrimage "github.com/containers/image/v5/image"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/copying/internal/registries"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// ReferrerOptions say what is saved of what registries have about images: signatures,
// SBOMs, attestations and whatever else, and what is about those.
//
// That is what the referrers API lists for the manifests that are saved, or what the
// referrers tag of the distribution specification does where there is no API; and what
// is there under cosign's tags. It is about what is saved: a signature of an index is
// not found for the one platform that is taken from it. The policy is asked about the
// images, and not about what is about them.
type ReferrerOptions struct {
	// ArtifactTypes are those that are saved; none means all. A type is that of the
	// artifact or, of what has none, such as cosign's tags, of its layers.
	ArtifactTypes []string
}

// Bounds of what is about an image.
const (
	maxReferrerDepth = 8    // of what is about what is about it
	maxReferrers     = 4096 // of all images
)

// referrer is what makes a savedImage one that is about another.
type referrer struct {
	root    *savedImage // the image that is asked for
	subject digest.Digest
	tag     string // "" if it is known by its digest
	listed  []imgspecv1.Descriptor
}

// gatherReferrers finds what is about the images and adds it to them, in an order that
// depends on nothing else: what has no name by its digest, then digest tags by name.
func (s *saver) gatherReferrers(ctx context.Context) error {
	if s.options.Referrers == nil {
		return nil
	}
	g := &gathering{saver: s, client: registries.New(s.options.SourceCtx), found: map[string]*savedImage{}}
	defer g.client.Close()
	var about []*savedImage
	for _, img := range s.images {
		if s.failed(img) {
			continue
		}
		if img.Source.Transport().Name() != docker.Transport.Name() {
			img.warn("what is about it is not looked for: its source is no registry")
			continue
		}
		about = append(about, img)
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

// gathering is what has been found about the images of a saver.
type gathering struct {
	saver  *saver
	client *registries.Client

	mu    sync.Mutex             // held for found, and for what the saver has opened
	found map[string]*savedImage // by the digest or the full name
}

// level finds what is directly about images, and returns what is new of that.
func (g *gathering) level(ctx context.Context, about []*savedImage) ([]*savedImage, error) {
	listed := make([][]*savedImage, len(about))
	err := g.each(ctx, about, func(ctx context.Context, n int, img *savedImage) (err error) {
		listed[n], err = g.list(ctx, img)
		return err
	})
	if err != nil {
		return nil, err
	}
	var found []*savedImage
	for _, r := range slices.Concat(listed...) {
		if _, ok := g.found[r.key()]; !ok {
			g.found[r.key()] = r
			found = append(found, r)
		}
	}
	if len(g.found) > maxReferrers {
		return nil, fmt.Errorf("%w: more than %d referrers", errdef.ErrLimit, maxReferrers)
	}
	err = g.each(ctx, found, func(ctx context.Context, _ int, r *savedImage) error {
		if err := g.openReferrer(ctx, r); err != nil {
			return err
		}
		keep, err := g.saver.resolveReferrer(ctx, r)
		if err == nil && !keep {
			g.drop(r)
		}
		return err
	})
	return slices.DeleteFunc(found, func(r *savedImage) bool { return g.found[r.key()] != r }), err
}

func (g *gathering) drop(r *savedImage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.found, r.key())
}

// each calls f for all images at once. What fails is the end of the image that was
// asked for, or of all.
func (g *gathering) each(ctx context.Context, images []*savedImage, f func(ctx context.Context, n int, img *savedImage) error) error {
	s := g.saver
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(s.options.Jobs)
	for n, img := range images {
		root := img.root()
		if s.failed(root) {
			continue
		}
		group.Go(func() error {
			if err := f(gctx, n, img); err != nil {
				return s.fail(root, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// list returns what the registry has about the manifests of an image.
func (g *gathering) list(ctx context.Context, img *savedImage) ([]*savedImage, error) {
	repo := img.Source.DockerReference()
	var found []*savedImage
	for _, subject := range img.subjects() {
		var listed []imgspecv1.Descriptor
		var hasAPI bool
		err := g.saver.retry(ctx, img, func() (err error) {
			listed, hasAPI, err = g.client.Referrers(ctx, repo, subject)
			return err
		})
		if err != nil {
			return nil, err
		}
		kinds := []string{image.TagSignature, image.TagAttestation, image.TagSBOM}
		if !hasAPI {
			kinds = append(kinds, image.TagReferrers)
		}
		for _, kind := range kinds {
			tagged, err := g.tagged(ctx, img, subject, kind)
			if err != nil {
				return nil, err
			}
			if tagged == nil {
				continue
			}
			found = append(found, tagged)
			if kind == image.TagReferrers {
				listed = tagged.about.listed
			}
		}
		for _, d := range listed {
			r, err := img.referrerOf(subject, d.Digest)
			if err != nil {
				return nil, err
			}
			found = append(found, r)
		}
	}
	return found, nil
}

// tagged returns what a digest tag of a subject holds, nil if there is none.
func (g *gathering) tagged(ctx context.Context, img *savedImage, subject digest.Digest, kind string) (*savedImage, error) {
	repo, tag := img.Source.DockerReference(), image.DigestTag(subject, kind)
	var raw []byte
	var mediaType string
	err := g.saver.retry(ctx, img, func() (err error) {
		raw, mediaType, err = g.client.Tagged(ctx, repo, tag)
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
		return nil, fmt.Errorf("parsing %s:%s: %w", repo.Name(), tag, err)
	}
	name, err := reference.WithTag(reference.TrimNamed(repo), tag)
	if err != nil {
		return nil, err
	}
	r, err := img.newReferrer(subject, name)
	if err != nil {
		return nil, err
	}
	r.Name, r.about.tag = name, tag
	r.found = map[digest.Digest]*image.Document{document.Descriptor.Digest: document}
	r.digest = document.Descriptor.Digest
	if kind == image.TagReferrers {
		if !document.IsIndex() {
			return nil, fmt.Errorf("%s is no index of referrers", name)
		}
		r.about.listed = document.Manifests
	}
	return r, nil
}

// add adds all that was found to the images.
func (g *gathering) add() {
	s := g.saver
	var found []*savedImage
	for _, r := range g.found {
		if !s.failed(r.root()) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b *savedImage) int {
		if (a.Name == nil) != (b.Name == nil) {
			return strings.Compare(a.name(), b.name()) // "" is before any.
		}
		return strings.Compare(a.key(), b.key())
	})
	for _, r := range found {
		if r.about.listed != nil && !g.restrict(r) {
			continue
		}
		r.fetched = s.fetcher.AddImage(r, func(err error) error { return &ImageError{Source: r.Source, Err: err} })
		s.images = append(s.images, r)
	}
}

// restrict has the index of a referrers tag list what is saved, and reports whether
// that is anything.
func (g *gathering) restrict(r *savedImage) bool {
	var kept []digest.Digest
	for _, d := range r.about.listed {
		if g.found[d.Digest.String()] != nil {
			kept = append(kept, d.Digest)
		}
	}
	document, err := restricted(r.documents[0], kept)
	if err != nil {
		r.root().warn("its referrers tag %s is left out: %v", r.name(), err)
		return false
	}
	r.documents, r.digest = []*image.Document{document}, document.Descriptor.Digest
	return len(kept) > 0
}

// restricted returns an index that lists some of what another one does.
func restricted(index *image.Document, kept []digest.Digest) (*image.Document, error) {
	parsed, err := parseIndex(index.Raw)
	if err != nil {
		return nil, err
	}
	raw, _, err := parsed.only(kept)
	if err != nil {
		return nil, err
	}
	return image.ParseDocument(raw, index.Descriptor.MediaType)
}

// root returns the image that is asked for, which img is or is about.
func (i *savedImage) root() *savedImage {
	if i.about != nil {
		return i.about.root
	}
	return i
}

// subject returns what a referrer is about, or "".
func (i *savedImage) subject() digest.Digest {
	if i.about == nil {
		return ""
	}
	return i.about.subject
}

// key is what tells one referrer from another.
func (i *savedImage) key() string {
	if i.Name != nil {
		return i.Name.String()
	}
	return i.digest.String()
}

// subjects returns the digests of what the archive has of an image, but for
// attestations of BuildKit's, which nothing is about.
func (i *savedImage) subjects() []digest.Digest {
	attestations := map[digest.Digest]bool{}
	for _, document := range i.documents {
		for _, listed := range document.Manifests {
			attestations[listed.Digest] = listed.Annotations[attestedDigest] != ""
		}
	}
	var subjects []digest.Digest
	for _, document := range i.documents {
		if d := document.Descriptor.Digest; !attestations[d] && !slices.Contains(subjects, d) {
			subjects = append(subjects, d)
		}
	}
	return subjects
}

// newReferrer returns something that is about img, where its repository has it.
func (i *savedImage) newReferrer(subject digest.Digest, ref reference.Named) (*savedImage, error) {
	source, err := docker.NewReference(ref)
	if err != nil {
		return nil, err
	}
	return &savedImage{
		SaveImage: SaveImage{Source: source},
		blobs:     i.blobs,
		about:     &referrer{root: i.root(), subject: subject},
	}, nil
}

// referrerOf returns what is about img and known by its digest.
func (i *savedImage) referrerOf(subject, d digest.Digest) (*savedImage, error) {
	ref, err := reference.WithDigest(reference.TrimNamed(i.Source.DockerReference()), d)
	if err != nil {
		return nil, err
	}
	r, err := i.newReferrer(subject, ref)
	if err != nil {
		return nil, err
	}
	r.digest, r.found = d, map[digest.Digest]*image.Document{}
	return r, nil
}

// resolveReferrersTag reads an index of referrers that is asked for by its tag: of what it
// lists, the archive gets what is asked for too.
func (s *saver) resolveReferrersTag(ctx context.Context, top *ctrimage.UnparsedImage, raw []byte, mimeType string) (*image.Document, error) {
	if err := s.allow(ctx, top); err != nil {
		return nil, err
	}
	return image.ParseDocument(raw, mimeType)
}

// isReferrersTag reports whether an image is known as what lists the referrers of another.
func (i *savedImage) isReferrersTag() bool {
	_, kind, ok := image.ParseDigestTag(i.name())
	return ok && kind == image.TagReferrers
}

// isReferrer reports whether an image that has been resolved is about another, found
// because of that or asked for.
func (i *savedImage) isReferrer() bool {
	if i.about != nil {
		return true
	}
	if name := i.name(); name != "" {
		_, _, ok := image.ParseDigestTag(name)
		return ok
	}
	return i.documents[len(i.documents)-1].Subject != nil
}

// isAbout reports whether an index without a name is about something: it is taken as
// it is, and no platform chosen from it.
func (i *savedImage) isAbout(raw []byte, mimeType string) bool {
	document, err := image.ParseDocument(raw, mimeType)
	return i.name() == "" && err == nil && document.Subject != nil
}

// resolveReferrer reads the manifests of a referrer, and reports whether it is to be
// saved. What a tag of referrers lists is not read: that is found by itself.
func (s *saver) resolveReferrer(ctx context.Context, r *savedImage) (keep bool, err error) {
	top, err := s.referrerDocument(ctx, r, r.digest)
	if err != nil {
		return false, err
	}
	if r.about.listed != nil {
		r.documents = []*image.Document{top}
		return true, nil
	}
	if !s.wanted(top) {
		return false, nil
	}
	if r.about.tag == "" && (top.Subject == nil || top.Subject.Digest != r.about.subject) {
		r.root().warn("%s is left out: it is listed as a referrer of %s, but is not about that", r.digest, r.about.subject)
		return false, nil
	}
	if err := s.layout.Check(top); err != nil {
		r.root().warn("its referrer %s is left out: %v", r.digest, err)
		return false, nil
	}
	r.documents, err = image.Order(top, func(listed imgspecv1.Descriptor) (*image.Document, error) {
		return s.referrerDocument(ctx, r, listed.Digest)
	})
	return true, err
}

// wanted reports whether a referrer has one of the types that are asked for.
func (s *saver) wanted(document *image.Document) bool {
	types := s.options.Referrers.ArtifactTypes
	if len(types) == 0 || slices.Contains(types, document.ArtifactType) {
		return true
	}
	return slices.ContainsFunc(document.Layers, func(l imgspecv1.Descriptor) bool {
		return !image.IsLayerType(l.MediaType) && slices.Contains(types, l.MediaType)
	})
}

// referrerDocument reads a manifest or an index of a referrer.
func (s *saver) referrerDocument(ctx context.Context, r *savedImage, d digest.Digest) (*image.Document, error) {
	if document := r.found[d]; document != nil {
		return document, nil
	}
	raw, mimeType, err := s.manifest(ctx, r, ctrimage.UnparsedInstance(r.blobs.src, &d))
	if err != nil {
		return nil, fmt.Errorf("referrer %s of %s: %w", d, r.about.subject, err)
	}
	document, err := image.ParseDocument(raw, mimeType)
	if err != nil {
		return nil, fmt.Errorf("parsing referrer %s of %s: %w", d, r.about.subject, err)
	}
	document.Descriptor.Digest = d // By which the registry knows it.
	r.found[d] = document
	return document, nil
}

// openReferrer opens a source of its own for a referrer, where that of its image need
// not have it: a mirror has what has been put there.
func (g *gathering) openReferrer(ctx context.Context, r *savedImage) error {
	s, repo := g.saver, r.Source.DockerReference()
	mirrored, err := g.client.Mirrored(repo)
	if err != nil || !mirrored {
		return err
	}
	ref, err := reference.WithDigest(reference.TrimNamed(repo), r.digest)
	if err != nil {
		return err
	}
	source, err := docker.NewReference(ref)
	if err != nil {
		return err
	}
	return s.retry(ctx, r, func() error {
		src, err := source.NewImageSource(ctx, s.options.SourceCtx)
		if err != nil {
			return err
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		s.opened = append(s.opened, src)
		r.blobs = newBlobSource(src)
		return nil
	})
}

// checkReferrers fails if an archive cannot hold what is asked for.
func (s *saver) checkReferrers() error {
	if s.options.Referrers != nil && s.layout.Unpacks() {
		return fmt.Errorf("saving images: an archive of this kind has no manifests for referrers to be about; write an %s", dockerarchive.ImageTransport.Name())
	}
	return nil
}

// name returns what the image is called in the archive first, "" for nothing.
func (i *savedImage) name() string {
	for _, name := range i.AllNames() {
		return name
	}
	return ""
}
