package dockerarchive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/transports"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/retry"
)

// maxIndexDepth bounds indexes in indexes, which are rare, and not recursive.
const maxIndexDepth = 4

// savedImage is an image that Save reads.
type savedImage struct {
	SaveImage
	src    types.ImageSource
	serial *sync.Mutex // held while a blob is read, if src allows only one at a time

	// Known once its manifests have been read.
	digest    digest.Digest // of the manifest or index
	documents []savedDocument
	dest      types.ImageDestination // while the archive is written

	err error // why it is not saved; guarded by the saver's mutex
}

func (i *savedImage) failed() bool { return i.err != nil }

// top returns the manifest or index of the image, which comes after all that it
// refers to.
func (i *savedImage) top() savedDocument { return i.documents[len(i.documents)-1] }

// savedDocument is a manifest or an index.
type savedDocument struct {
	raw      []byte
	mimeType string
	digest   digest.Digest
	blobs    []*savedBlob // of a manifest: layers and config
}

// resolve reads the manifests of an image, chooses what will be saved of it, and
// has the policy accept that.
func (s *saver) resolve(ctx context.Context, img *savedImage) error {
	if _, err := s.transport.newReference("", img.Name, -1); err != nil {
		return err
	}
	err := s.retry(ctx, img, func() error {
		src, err := img.Source.NewImageSource(ctx, s.options.SourceCtx)
		if err == nil {
			img.src = concurrently(src)
		}
		return err
	})
	if err != nil {
		return err
	}
	if !img.src.HasThreadSafeGetBlob() {
		img.serial = new(sync.Mutex)
	}
	top := image.UnparsedInstance(img.src, nil)
	raw, mimeType, err := s.manifest(ctx, img, top)
	if err != nil {
		return err
	}
	if manifest.MIMETypeIsMultiImage(mimeType) {
		err = s.resolveIndex(ctx, img, top, raw, mimeType)
	} else {
		err = s.addManifest(ctx, img, top, nil)
	}
	if err != nil {
		return err
	}
	if img.digest = img.top().digest; img.Name == nil {
		return nil
	}
	if digested, ok := img.Name.(reference.Digested); ok && digested.Digest() != digest.FromBytes(raw) && digested.Digest() != img.digest {
		return fmt.Errorf("the name %s does not fit: the image has the digest %s", img.Name, img.digest)
	}
	return nil
}

// resolveIndex chooses from an index.
func (s *saver) resolveIndex(ctx context.Context, img *savedImage, top *image.UnparsedImage, raw []byte, mimeType string) error {
	if s.options.AllPlatforms {
		return s.addIndex(ctx, img, top, raw, mimeType, 0)
	}
	list, err := manifest.ListFromBlob(raw, mimeType)
	if err != nil {
		return fmt.Errorf("parsing its index: %w", err)
	}
	index, err := parseIndex(raw)
	if err != nil {
		return err
	}
	chosen, err := s.choose(list, index)
	if err != nil {
		return err
	}
	if len(s.options.Platforms) < 2 {
		return s.addInstances(ctx, img, chosen, 0)
	}
	if err := s.allow(ctx, top); err != nil {
		return err
	}
	subset, instances, err := index.only(chosen)
	if err != nil {
		return err
	}
	if err := s.addInstances(ctx, img, instances, 1); err != nil {
		return err
	}
	img.add(subset, mimeType)
	return nil
}

// choose returns the manifests for the platforms that are wanted.
func (s *saver) choose(list manifest.List, index *parsedIndex) ([]digest.Digest, error) {
	contexts := []*types.SystemContext{s.options.SourceCtx}
	if len(s.options.Platforms) > 0 {
		contexts = nil
	}
	for _, p := range s.options.Platforms {
		contexts = append(contexts, choosing(s.options.SourceCtx, p))
	}
	var chosen []digest.Digest
	for _, sys := range contexts {
		d, err := chooseInstance(list, index, sys)
		if err != nil {
			return nil, err
		}
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
		wanted = platformName(&imgspecv1.Platform{
			OS:           cmp.Or(sys.OSChoice, runtime.GOOS),
			Architecture: cmp.Or(sys.ArchitectureChoice, runtime.GOARCH),
			Variant:      sys.VariantChoice,
		})
	}
	return "", &NoPlatformError{Wanted: wanted, Available: index.platforms()}
}

// addIndex adds all that an index lists, and then itself.
func (s *saver) addIndex(ctx context.Context, img *savedImage, unparsed *image.UnparsedImage, raw []byte, mimeType string, depth int) error {
	if depth == maxIndexDepth {
		return fmt.Errorf("more than %d indexes within each other", maxIndexDepth)
	}
	if err := s.allow(ctx, unparsed); err != nil {
		return err
	}
	list, err := manifest.ListFromBlob(raw, mimeType)
	if err != nil {
		return fmt.Errorf("parsing its index: %w", err)
	}
	if err := s.addInstances(ctx, img, list.Instances(), depth+1); err != nil {
		return err
	}
	img.add(raw, mimeType)
	return nil
}

// addInstances adds manifests that an index lists.
func (s *saver) addInstances(ctx context.Context, img *savedImage, instances []digest.Digest, depth int) error {
	unparsed := make([]*image.UnparsedImage, len(instances))
	for i := range instances {
		unparsed[i] = image.UnparsedInstance(img.src, &instances[i])
	}
	// Other sources do not promise that they can be asked for two at once, and
	// none needs it as much.
	if img.Source.Transport().Name() == docker.Transport.Name() {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(s.options.Jobs)
		for i, u := range unparsed {
			g.Go(func() error {
				_, _, err := s.manifest(ctx, img, u) // u keeps it.
				return ofIndex(instances[i], err)
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	for i, u := range unparsed {
		if err := s.addInstance(ctx, img, u, instances[i], depth); err != nil {
			return err
		}
	}
	return nil
}

func ofIndex(instance digest.Digest, err error) error {
	if err != nil {
		return fmt.Errorf("%s of its index: %w", instance, err)
	}
	return nil
}

func (s *saver) addInstance(ctx context.Context, img *savedImage, unparsed *image.UnparsedImage, instance digest.Digest, depth int) error {
	if slices.ContainsFunc(img.documents, func(d savedDocument) bool { return d.digest == instance }) {
		return nil
	}
	raw, mimeType, err := s.manifest(ctx, img, unparsed)
	if err != nil {
		return ofIndex(instance, err)
	}
	if manifest.MIMETypeIsMultiImage(mimeType) {
		if depth == 0 {
			return fmt.Errorf("%s is an index in an index, from which no platform can be chosen; save all platforms", instance)
		}
		return s.addIndex(ctx, img, unparsed, raw, mimeType, depth)
	}
	var within *digest.Digest
	if depth > 0 {
		within = &instance
	}
	return s.addManifest(ctx, img, unparsed, within)
}

// addManifest adds a manifest; within is its digest if the archive will have an
// index that lists it.
func (s *saver) addManifest(ctx context.Context, img *savedImage, unparsed *image.UnparsedImage, within *digest.Digest) error {
	if err := s.allow(ctx, unparsed); err != nil {
		return err
	}
	raw, mimeType, err := unparsed.Manifest(ctx)
	if err != nil {
		return err
	}
	switch mimeType {
	case manifest.DockerV2Schema1MediaType, manifest.DockerV2Schema1SignedMediaType:
		return errors.New("its manifest is of the old Docker schema 1, which has to be converted: use 'docker-archive copy'")
	}
	parsed, err := image.FromUnparsedImage(ctx, s.options.SourceCtx, unparsed)
	if err != nil {
		return fmt.Errorf("parsing its manifest: %w", err)
	}
	infos := parsed.LayerInfos()
	updated, err := parsed.LayerInfosForCopy(ctx)
	if err != nil {
		return err
	}
	if updated != nil && !reflect.DeepEqual(updated, infos) {
		if within != nil {
			return errors.New("its layers are not stored as its index says; choose one platform")
		}
		if raw, mimeType, err = s.rewrite(ctx, parsed, updated); err != nil {
			return err
		}
		infos = updated
	}
	document := img.add(raw, mimeType)
	for _, info := range infos {
		document.blobs = append(document.blobs, &savedBlob{info: info})
	}
	if config := parsed.ConfigInfo(); config.Digest != "" {
		document.blobs = append(document.blobs, &savedBlob{info: config, config: true})
	}
	for _, blob := range document.blobs {
		if err := blob.info.Digest.Validate(); err != nil {
			return fmt.Errorf("its manifest lists the digest %q: %w", blob.info.Digest, err)
		}
	}
	return s.acceptable(raw, mimeType)
}

// rewrite returns the manifest of an image whose source does not have the layers
// that the original manifest lists, but the same in another form.
func (s *saver) rewrite(ctx context.Context, img types.Image, layers []types.BlobInfo) ([]byte, string, error) {
	layers = slices.Clone(layers)
	for i, layer := range layers {
		if (plannedBlob{mediaType: layer.MediaType}).plain() {
			layers[i].CompressionOperation = types.Decompress // Makes UpdatedImage say so in the manifest.
		}
		if layer.Size < 0 && s.transport.layout.keepsDigests() {
			return nil, "", fmt.Errorf("its source does not say how large layer %s is, as a manifest must; use 'docker-archive copy'", layer.Digest)
		}
	}
	changed, err := img.UpdatedImage(ctx, types.ManifestUpdateOptions{
		LayerInfos:      layers,
		InformationOnly: types.ManifestUpdateInformation{LayerInfos: layers},
	})
	if err != nil {
		return nil, "", fmt.Errorf("describing the layers as they are stored: %w", err)
	}
	return changed.Manifest(ctx)
}

// acceptable fails for manifests that the layout cannot hold, before their blobs
// are read.
func (s *saver) acceptable(raw []byte, mimeType string) error {
	l := s.transport.layout
	if !slices.Contains(l.manifestTypes(), mimeType) {
		return fmt.Errorf("manifest type %q is neither OCI nor Docker schema 2", mimeType)
	}
	if l.keepsDigests() {
		return nil
	}
	parsed, err := manifest.FromBlob(raw, mimeType)
	if err != nil {
		return err
	}
	if config := parsed.ConfigInfo(); !isImageConfig(config.MediaType) {
		return errNoImage(config.MediaType)
	}
	return nil
}

func (i *savedImage) add(raw []byte, mimeType string) *savedDocument {
	i.documents = append(i.documents, savedDocument{raw: raw, mimeType: mimeType, digest: digest.FromBytes(raw)})
	return &i.documents[len(i.documents)-1]
}

// manifest reads a manifest, whose digest is verified where it is known.
func (s *saver) manifest(ctx context.Context, img *savedImage, unparsed *image.UnparsedImage) (raw []byte, mimeType string, err error) {
	err = s.retry(ctx, img, func() error {
		raw, mimeType, err = unparsed.Manifest(ctx)
		return err
	})
	return raw, mimeType, err
}

// allow asks the policy about a manifest, as copy.Image does.
func (s *saver) allow(ctx context.Context, unparsed types.UnparsedImage) error {
	s.policyMu.Lock()
	defer s.policyMu.Unlock()
	if allowed, err := s.policy.IsRunningImageAllowed(ctx, unparsed); !allowed || err != nil {
		return fmt.Errorf("rejected by the signature policy: %w", err)
	}
	return nil
}

func (s *saver) retry(ctx context.Context, img *savedImage, f func() error) error {
	announce := func(err error) { s.options.Progress.Retried(transports.ImageName(img.Source), err) }
	return s.retries().Do(ctx, announce, f)
}

func (s *saver) retries() retry.Policy {
	policy := retryPolicy(s.options.RetryTimes)
	policy.FirstDelay = s.options.retryDelay
	return policy
}
