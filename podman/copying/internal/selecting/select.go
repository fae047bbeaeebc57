package selecting

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/docker/reference"
	ctrimage "go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// reading is an image while its manifests are read.
type reading struct {
	s   *Selection
	img *Image
}

func (s *Selection) of(img *Image) *reading { return &reading{s, img} }

// resolve reads the manifests of an image, chooses the parts to save, and has the
// policy accept them.
func (r *reading) resolve(ctx context.Context) error {
	if err := r.checkName(); err != nil {
		return err
	}
	reopen := func(ctx context.Context) (types.ImageSource, error) {
		several := r.whole() || len(r.platforms()) > 0
		opening := sources.Opening(r.s.sourceCtx(r.img), r.img.Source, several)
		if r.img.Source.Transport().Name() == sources.DockerDaemon {
			if src, err := sources.OpenDaemon(ctx, opening, r.img.Source); src != nil || err != nil {
				return src, err
			}
		}
		return r.img.Source.NewImageSource(ctx, opening)
	}
	err := r.retry(ctx, func(ctx context.Context) error {
		src, err := reopen(ctx)
		if err == nil {
			r.img.origins, _ = src.(origins)
			r.img.partial, _ = src.(partial)
			r.img.placed, _ = src.(placed)
			_, r.img.exported = src.(exported)
			r.img.src = sources.Concurrently(sources.Truthful(ctx, src))
		}
		return err
	})
	if err != nil {
		return err
	}
	r.img.blobs = sources.New(r.img.src, r.s.client(r.img))
	r.img.blobs.Waiting, r.img.blobs.Reopen = r.s.Waiting, reopen
	r.img.found = map[digest.Digest]*image.Document{}
	top := ctrimage.UnparsedInstance(r.img.src, nil)
	raw, mimeType, err := r.manifest(ctx, top)
	if err != nil {
		return err
	}
	r.img.top = digest.FromBytes(raw)
	var document *image.Document
	switch {
	case manifest.MIMETypeIsMultiImage(mimeType) && r.img.isReferrersTag():
		document, err = r.s.resolveReferrersTag(ctx, top, raw, mimeType)
	case manifest.MIMETypeIsMultiImage(mimeType) && r.img.isAbout(raw, mimeType):
		document, err = r.readIndex(ctx, top, raw, mimeType, 0)
	case manifest.MIMETypeIsMultiImage(mimeType):
		document, err = r.resolveIndex(ctx, top, raw, mimeType)
	default:
		if err = r.checkPlatform(ctx, top); err == nil {
			document, err = r.readManifest(ctx, top, nil, false)
		}
	}
	if err != nil {
		return err
	}
	r.img.Documents, err = image.Order(document, func(listed imgspecv1.Descriptor) (*image.Document, error) {
		return r.img.found[listed.Digest], nil
	})
	if err != nil {
		return err
	}
	r.img.Digest = document.Descriptor.Digest
	return r.checkNames()
}

// checkNames fails if a digest in a name is not that of the image, nor of the index that it is
// chosen from. A name from an archive then keeps only its tag: podman and hauler give such
// names to images whose manifests they do not keep.
func (r *reading) checkNames() error {
	var fit []reference.Named
	for _, name := range r.img.References() {
		digested, ok := name.(reference.Digested)
		if !ok || digested.Digest() == r.img.top || digested.Digest() == r.img.Digest {
			fit = append(fit, name)
			continue
		}
		if !r.img.Found {
			return fmt.Errorf("the name %s does not fit: the image has the digest %s", name, r.img.Digest)
		}
		r.img.Warn("the name %s is left out: the image has the digest %s", name, r.img.Digest)
		if tagged, ok := name.(reference.Tagged); ok {
			named, err := reference.WithTag(reference.TrimNamed(name), tagged.Tag())
			if err != nil {
				return err
			}
			fit = append(fit, named)
		}
	}
	r.img.Name, r.img.Names = nil, nil
	if len(fit) > 0 {
		r.img.Name, r.img.Names = fit[0], fit[1:]
	}
	return nil
}

// whole reports whether an index is saved as it is.
func (r *reading) whole() bool {
	return r.s.options.AllPlatforms || r.asItIs()
}

// asItIs reports whether an index is saved as it is because it is that of a whole
// image.
func (r *reading) asItIs() bool {
	return r.img.Whole && !r.s.options.AllPlatforms && len(r.platforms()) == 0 && !r.s.Layout.Unpacks()
}

// platforms returns the platforms to choose from an image.
func (r *reading) platforms() []imgspecv1.Platform {
	if r.img.Platform != nil && !r.s.options.AllPlatforms {
		return []imgspecv1.Platform{*r.img.Platform}
	}
	return r.s.options.Platforms
}

// skipsMissing reports whether an index need not be all there.
func (r *reading) skipsMissing() bool { return r.s.options.SkipMissing || r.img.exported || r.asItIs() }

// skipsIncomplete reports whether manifests of an index whose blobs are not all there are
// skipped.
func (r *reading) skipsIncomplete() bool { return r.s.options.SkipMissing || r.img.exported }

// checkName says what becomes of a name that the layout cannot keep, and refuses a full one.
func (r *reading) checkName() error {
	if !r.s.Layout.Unpacks() {
		return nil
	}
	if _, _, full := naming.SplitTag(r.img.FreeName); full {
		return fmt.Errorf("an archive of this kind cannot have the name %s, which podman, skopeo and Docker's older readers refuse: rename the image, or write an image-archive", printable.String(r.img.FreeName))
	}
	if r.img.FreeName != "" {
		logrus.Warnf("an archive of this kind has names of the form NAME:TAG only: %q is stored without a name", r.img.FreeName)
	}
	for _, name := range r.img.References() {
		_, digested := name.(reference.Digested)
		if _, tagged := name.(reference.Tagged); digested && !tagged {
			logrus.Warnf("an archive of this kind keeps no digests: %s is stored without a name", name)
		}
	}
	return nil
}

// resolveIndex chooses from an index, and returns the manifest or index that the
// archive will have.
func (r *reading) resolveIndex(ctx context.Context, top *ctrimage.UnparsedImage, raw []byte, mimeType string) (*image.Document, error) {
	if r.whole() {
		return r.readIndex(ctx, top, raw, mimeType, 0)
	}
	list, index, err := ParseList(raw, mimeType)
	if err != nil {
		return nil, err
	}
	chosen, err := r.choose(list, index)
	if err != nil {
		return nil, err
	}
	keep := r.keepsIndex(raw)
	if !keep {
		r.img.dropped = digest.FromBytes(raw)
	}
	if len(r.platforms()) < 2 && !keep {
		return r.readInstance(ctx, ctrimage.UnparsedInstance(r.img.src, &chosen[0]), chosen[0], -1)
	}
	if err := r.allowImage(ctx, top); err != nil {
		return nil, err
	}
	subset, instances, err := index.only(chosen)
	if err != nil {
		return nil, err
	}
	if keep {
		subset = raw
	}
	if err := r.readInstances(ctx, instances, 1); err != nil {
		return nil, err
	}
	return image.ParseDocument(subset, mimeType)
}

// keepsIndex reports whether an index is kept although platforms are chosen from it: if
// the caller asks for that, or if the image will be named by the digest of the index,
// which would be wrong without it.
func (r *reading) keepsIndex(raw []byte) bool {
	return r.s.options.KeepIndex || !r.s.Layout.Unpacks() && slices.ContainsFunc(r.img.References(), func(name reference.Named) bool {
		digested, ok := name.(reference.Digested)
		return ok && digested.Digest() == digested.Digest().Algorithm().FromBytes(raw)
	})
}

// checkPlatform fails if an image that is not an index is for no platform that is
// wanted. An image that does not say its platform is for any.
func (r *reading) checkPlatform(ctx context.Context, unparsed *ctrimage.UnparsedImage) error {
	if len(r.platforms()) == 0 || r.s.options.AnyPlatform {
		return nil
	}
	parsed, err := sources.Parse(ctx, r.s.sourceCtx(r.img), r.img.src, nil, unparsed)
	if err != nil {
		return fmt.Errorf("parsing its manifest: %w", err)
	}
	var raw []byte
	if err := r.retry(ctx, func(ctx context.Context) error { raw, err = parsed.ConfigBlob(ctx); return err }); err != nil {
		return fmt.Errorf("reading its config: %w", err)
	}
	config, err := image.ParseConfig(parsed.ConfigInfo().Digest.String(), raw)
	if err != nil || !config.HasRootFS || config.Platform.OS == "" && config.Platform.Architecture == "" {
		return nil // It is not known.
	}
	have := config.Platform
	name := image.PlatformString(&have)
	var others []string
	for _, p := range r.platforms() {
		if p.OS != have.OS || p.Architecture != have.Architecture || p.Variant != have.Variant && p.Variant != "" && have.Variant != "" {
			others = append(others, image.PlatformString(&p))
		}
	}
	switch len(others) {
	case 0:
		return nil
	case len(r.platforms()):
		return fmt.Errorf("it is %s: %w", name, &errdef.NoPlatformError{Wanted: strings.Join(others, ", "), Available: []string{name}})
	}
	r.img.Warn("it is for %s only, and not for %s", name, strings.Join(others, ", "))
	return nil
}

// choose returns the manifests for the platforms that are wanted.
func (r *reading) choose(list manifest.List, index *Index) ([]digest.Digest, error) {
	contexts := []*types.SystemContext{r.s.sourceCtx(r.img)}
	if len(r.platforms()) > 0 {
		contexts = nil
	}
	for _, p := range r.platforms() {
		contexts = append(contexts, sources.Choosing(r.s.sourceCtx(r.img), p))
	}
	var chosen []digest.Digest
	for _, sys := range contexts {
		d, err := ChooseInstance(list, index, sys)
		if err != nil {
			return nil, err
		}
		logrus.Debugf("chose %s of an index of %s", d, strings.Join(index.platforms(), ", "))
		chosen = append(chosen, d)
	}
	return chosen, nil
}
