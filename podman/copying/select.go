package copying

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
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
	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// savedImage is an image that Save reads.
type savedImage struct {
	SaveImage
	src     types.ImageSource
	blobs   *blobSource // of src
	fetched *fetching.Image
	origins origins   // nil if src has none
	partial partial   // nil if src is no archive
	about   *referrer // nil of an image that is asked for

	// Known once its manifests have been read.
	digest    digest.Digest // of the manifest or index
	found     map[digest.Digest]*image.Document
	documents []*image.Document // in the order of the archive
	needed    []*fetching.Blob  // layers and configs, likewise, each document's
	warnings  []string
	missing   []string // digests of manifests that its index lists
	signed    bool     // or that is not known, and one of the warnings says so
	platforms []string // of the configs, once these have been read
}

// origins are sources that know what Docker's manifest.json says of an image.
type origins interface {
	Origin(config digest.Digest) image.Origin
}

// partial are sources that may be without layers on purpose, and say where those are.
type partial interface {
	LeftOut(d digest.Digest) (archive string, ok bool)
}

// Open implements fetching.Source.
func (i *savedImage) Open(ctx context.Context, blob imgspecv1.Descriptor, offset int64) (io.ReadCloser, error) {
	return i.blobs.Open(ctx, blob, offset)
}

// ReadEnd implements fetching.EndSource.
func (i *savedImage) ReadEnd(ctx context.Context, blob imgspecv1.Descriptor, n int) ([]byte, error) {
	return i.blobs.ReadEnd(ctx, blob, n)
}

// OpenRange implements fetching.RangeSource.
func (i *savedImage) OpenRange(ctx context.Context, blob imgspecv1.Descriptor, offset, length int64) (io.ReadCloser, error) {
	return i.blobs.OpenRange(ctx, blob, offset, length)
}

// resolve reads the manifests of an image, chooses what will be saved of it, and
// has the policy accept that.
func (s *saver) resolve(ctx context.Context, img *savedImage) error {
	s.checkName(img)
	err := s.retry(ctx, img, func(ctx context.Context) error {
		several := s.whole(img) || len(s.platforms(img)) > 0
		src, err := img.Source.NewImageSource(ctx, openingContext(s.sourceCtx(img), several))
		if err == nil {
			img.origins, _ = src.(origins)
			img.partial, _ = src.(partial)
			img.src = concurrently(truthful(src))
		}
		return err
	})
	if err != nil {
		return err
	}
	img.blobs = newBlobSource(img.src)
	img.blobs.waiting = s.waiting
	img.found = map[digest.Digest]*image.Document{}
	top := ctrimage.UnparsedInstance(img.src, nil)
	raw, mimeType, err := s.manifest(ctx, img, top)
	if err != nil {
		return err
	}
	var document *image.Document
	switch {
	case manifest.MIMETypeIsMultiImage(mimeType) && img.isReferrersTag():
		document, err = s.resolveReferrersTag(ctx, top, raw, mimeType)
	case manifest.MIMETypeIsMultiImage(mimeType) && img.isAbout(raw, mimeType):
		document, err = s.readIndex(ctx, img, top, raw, mimeType, 0)
	case manifest.MIMETypeIsMultiImage(mimeType):
		document, err = s.resolveIndex(ctx, img, top, raw, mimeType)
	default:
		if err = s.checkPlatform(ctx, img, top); err == nil {
			document, err = s.readManifest(ctx, img, top, nil)
		}
	}
	if err != nil {
		return err
	}
	img.documents, err = image.Order(document, func(listed imgspecv1.Descriptor) (*image.Document, error) {
		return img.found[listed.Digest], nil
	})
	if err != nil {
		return err
	}
	img.digest = document.Descriptor.Digest
	for _, name := range img.references() {
		if digested, ok := name.(reference.Digested); ok && digested.Digest() != digest.FromBytes(raw) && digested.Digest() != img.digest {
			return fmt.Errorf("the name %s does not fit: the image has the digest %s", name, img.digest)
		}
	}
	return nil
}

// whole reports whether an index is saved as it is.
func (s *saver) whole(img *savedImage) bool {
	return s.options.AllPlatforms || s.asItIs(img)
}

// asItIs reports whether an index is saved as it is because it is that of a whole
// image.
func (s *saver) asItIs(img *savedImage) bool {
	return img.Whole && !s.options.AllPlatforms && len(s.platforms(img)) == 0 && !s.layout.Unpacks()
}

// platforms returns what is to be chosen from an image.
func (s *saver) platforms(img *savedImage) []imgspecv1.Platform {
	if img.Platform != nil && !s.options.AllPlatforms {
		return []imgspecv1.Platform{*img.Platform}
	}
	return s.options.Platforms
}

// skipsMissing reports whether an index need not be all there.
func (s *saver) skipsMissing(img *savedImage) bool { return s.options.SkipMissing || s.asItIs(img) }

// checkName says what becomes of a name that the layout cannot keep.
func (s *saver) checkName(img *savedImage) {
	if !s.layout.Unpacks() {
		return
	}
	if img.FreeName != "" {
		logrus.Warnf("an archive of this kind has names of the form NAME:TAG only: %q is stored without a name", img.FreeName)
	}
	for _, name := range img.references() {
		_, digested := name.(reference.Digested)
		if _, tagged := name.(reference.Tagged); digested && !tagged {
			logrus.Warnf("an archive of this kind keeps no digests: %s is stored without a name", name)
		}
	}
}

// resolveIndex chooses from an index, and returns the manifest or index that the
// archive will have.
func (s *saver) resolveIndex(ctx context.Context, img *savedImage, top *ctrimage.UnparsedImage, raw []byte, mimeType string) (*image.Document, error) {
	if s.whole(img) {
		return s.readIndex(ctx, img, top, raw, mimeType, 0)
	}
	list, index, err := parseList(raw, mimeType)
	if err != nil {
		return nil, err
	}
	chosen, err := s.choose(img, list, index)
	if err != nil {
		return nil, err
	}
	keep := s.keepsIndex(img, raw)
	if len(s.platforms(img)) < 2 && !keep {
		return s.readInstance(ctx, img, ctrimage.UnparsedInstance(img.src, &chosen[0]), chosen[0], -1)
	}
	if err := s.allowImage(ctx, img, top); err != nil {
		return nil, err
	}
	subset, instances, err := index.only(chosen)
	if err != nil {
		return nil, err
	}
	if keep {
		subset = raw
	}
	if err := s.readInstances(ctx, img, instances, 1); err != nil {
		return nil, err
	}
	return image.ParseDocument(subset, mimeType)
}

// keepsIndex reports whether an index is kept of which platforms are chosen: if that is
// asked for, or if the image will be named by the digest of the index, which would be a
// lie without it.
func (s *saver) keepsIndex(img *savedImage, raw []byte) bool {
	return s.options.KeepIndex || !s.layout.Unpacks() && slices.ContainsFunc(img.references(), func(name reference.Named) bool {
		digested, ok := name.(reference.Digested)
		return ok && digested.Digest() == digested.Digest().Algorithm().FromBytes(raw)
	})
}

// checkPlatform fails if an image that is not an index is for no platform that is
// wanted. One that does not say what it is for is for any.
func (s *saver) checkPlatform(ctx context.Context, img *savedImage, unparsed *ctrimage.UnparsedImage) error {
	if len(s.platforms(img)) == 0 || s.options.AnyPlatform {
		return nil
	}
	parsed, err := ctrimage.FromUnparsedImage(ctx, s.sourceCtx(img), unparsed)
	if err != nil {
		return fmt.Errorf("parsing its manifest: %w", err)
	}
	var raw []byte
	if err := s.retry(ctx, img, func(ctx context.Context) error { raw, err = parsed.ConfigBlob(ctx); return err }); err != nil {
		return fmt.Errorf("reading its config: %w", err)
	}
	config, err := image.ParseConfig(parsed.ConfigInfo().Digest.String(), raw)
	if err != nil || !config.HasRootFS || config.Platform.OS == "" && config.Platform.Architecture == "" {
		return nil // Nobody can tell.
	}
	have := config.Platform
	name := image.PlatformString(&have)
	var others []string
	for _, p := range s.platforms(img) {
		if p.OS != have.OS || p.Architecture != have.Architecture || p.Variant != have.Variant && p.Variant != "" && have.Variant != "" {
			others = append(others, image.PlatformString(&p))
		}
	}
	switch len(others) {
	case 0:
		return nil
	case len(s.platforms(img)):
		return fmt.Errorf("it is %s: %w", name, &errdef.NoPlatformError{Wanted: strings.Join(others, ", "), Available: []string{name}})
	}
	img.warn("it is for %s only, and not for %s", name, strings.Join(others, ", "))
	return nil
}

// choose returns the manifests for the platforms that are wanted.
func (s *saver) choose(img *savedImage, list manifest.List, index *parsedIndex) ([]digest.Digest, error) {
	contexts := []*types.SystemContext{s.sourceCtx(img)}
	if len(s.platforms(img)) > 0 {
		contexts = nil
	}
	for _, p := range s.platforms(img) {
		contexts = append(contexts, choosing(s.sourceCtx(img), p))
	}
	var chosen []digest.Digest
	for _, sys := range contexts {
		d, err := chooseInstance(list, index, sys)
		if err != nil {
			return nil, err
		}
		logrus.Debugf("chose %s of an index of %s", d, strings.Join(index.platforms(), ", "))
		chosen = append(chosen, d)
	}
	return chosen, nil
}

// chooseInstance returns the manifest for the platform that sys asks for, or a
// NoPlatformError.
func chooseInstance(list manifest.List, index *parsedIndex, sys *types.SystemContext) (digest.Digest, error) {
	d, err := list.ChooseInstance(sys)
	if err == nil {
		return d, nil
	}
	wanted := "this machine's platform"
	if sys != nil && (sys.OSChoice != "" || sys.ArchitectureChoice != "") {
		wanted = image.PlatformString(&imgspecv1.Platform{
			OS:           cmp.Or(sys.OSChoice, runtime.GOOS),
			Architecture: cmp.Or(sys.ArchitectureChoice, runtime.GOARCH),
			Variant:      sys.VariantChoice,
		})
	}
	return "", &errdef.NoPlatformError{Wanted: wanted, Available: index.platforms()}
}
