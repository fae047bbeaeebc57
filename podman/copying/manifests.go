package copying

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	ctrimage "go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/internal/stall"
)

// readIndex reads all that an index lists.
func (s *saver) readIndex(ctx context.Context, img *savedImage, unparsed *ctrimage.UnparsedImage, raw []byte, mimeType string, depth int) (*image.Document, error) {
	if depth > image.MaxIndexDepth {
		return nil, image.ErrDepth
	}
	if err := s.allowImage(ctx, img, unparsed); err != nil {
		return nil, err
	}
	document, err := image.ParseDocument(raw, mimeType)
	if err != nil {
		return nil, fmt.Errorf("parsing its index: %w", err)
	}
	instances := make([]digest.Digest, len(document.Manifests))
	for i, listed := range document.Manifests {
		instances[i] = listed.Digest
	}
	return document, s.readInstances(ctx, img, instances, depth+1)
}

// readInstances reads manifests and indexes that an index lists.
func (s *saver) readInstances(ctx context.Context, img *savedImage, instances []digest.Digest, depth int) error {
	unparsed := make([]*ctrimage.UnparsedImage, len(instances))
	for i := range instances {
		unparsed[i] = ctrimage.UnparsedInstance(img.src, &instances[i])
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
	var missing []string
	for i, u := range unparsed {
		if img.found[instances[i]] != nil {
			continue
		}
		_, _, err := s.manifest(ctx, img, u)
		if errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, instances[i].String())
			continue
		}
		document, err := s.readInstance(ctx, img, u, instances[i], depth)
		if err != nil {
			return err
		}
		document.Descriptor.Digest = instances[i] // By which the index knows it.
		img.found[instances[i]] = document
	}
	nothing := depth <= 1 && len(missing) == len(instances) // Of the image's own index.
	if len(missing) > 0 && (nothing || !s.skipsMissing(img)) {
		return &MissingError{missing}
	}
	if len(missing) > 0 {
		img.missing = append(img.missing, missing...)
		img.warn("%v", &MissingError{missing})
	}
	return nil
}

// MissingError means that a source has not got all manifests that an index lists.
type MissingError struct {
	// Missing are their digests.
	Missing []string
}

// Error lists what is missing.
func (e *MissingError) Error() string {
	return fmt.Sprintf("its source has not got all that its index lists: %s", strings.Join(e.Missing, ", "))
}

// Unwrap makes it an fs.ErrNotExist.
func (e *MissingError) Unwrap() error { return fs.ErrNotExist }

func ofIndex(instance digest.Digest, err error) error {
	if err != nil {
		return fmt.Errorf("%s of its index: %w", instance, err)
	}
	return nil
}

// readInstance reads what an index lists. depth is that of the index in the
// archive, or -1 if the archive will have the instance only.
func (s *saver) readInstance(ctx context.Context, img *savedImage, unparsed *ctrimage.UnparsedImage, instance digest.Digest, depth int) (*image.Document, error) {
	raw, mimeType, err := s.manifest(ctx, img, unparsed)
	if err != nil {
		return nil, ofIndex(instance, err)
	}
	switch {
	case !manifest.MIMETypeIsMultiImage(mimeType) && depth < 0:
		return s.readManifest(ctx, img, unparsed, nil)
	case !manifest.MIMETypeIsMultiImage(mimeType):
		return s.readManifest(ctx, img, unparsed, &instance)
	case depth < 0:
		return nil, fmt.Errorf("%s is an index in an index, from which no platform can be chosen; save all platforms", instance)
	}
	return s.readIndex(ctx, img, unparsed, raw, mimeType, depth)
}

// readManifest reads a manifest; within is its digest if the archive will have an
// index that lists it.
func (s *saver) readManifest(ctx context.Context, img *savedImage, unparsed *ctrimage.UnparsedImage, within *digest.Digest) (*image.Document, error) {
	if err := s.allowImage(ctx, img, unparsed); err != nil {
		return nil, err
	}
	raw, mimeType, err := unparsed.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	switch mimeType {
	case manifest.DockerV2Schema1MediaType, manifest.DockerV2Schema1SignedMediaType:
		return nil, errors.New("its manifest is of the old Docker schema 1, which has to be converted: use 'docker-archive copy'")
	}
	parsed, err := ctrimage.FromUnparsedImage(ctx, s.sourceCtx(img), unparsed)
	if err != nil {
		return nil, fmt.Errorf("parsing its manifest: %w", err)
	}
	updated, err := parsed.LayerInfosForCopy(ctx)
	if err != nil {
		return nil, err
	}
	if updated != nil && !reflect.DeepEqual(updated, parsed.LayerInfos()) {
		if within != nil {
			return nil, errors.New("its layers are not stored as its index says; choose one platform")
		}
		if raw, mimeType, err = s.rewrite(ctx, parsed, updated); err != nil {
			return nil, err
		}
	}
	document, err := image.ParseDocument(raw, mimeType)
	if err != nil {
		return nil, fmt.Errorf("parsing its manifest: %w", err)
	}
	if err := s.layout.Check(document); err != nil {
		return nil, err
	}
	leftOut, err := s.leftOut(ctx, img, document, parsed)
	if err != nil {
		return nil, err
	}
	leavesOut := func(l imgspecv1.Descriptor) bool {
		_, ok := leftOut[l.Digest]
		return ok || s.leavesOut(l)
	}
	wanted := slices.DeleteFunc(slices.Clone(document.Layers), leavesOut)
	absent, reason, err := absentLayers(ctx, img.src, wanted, func(f func(context.Context) error) error { return s.retry(ctx, img, f) })
	if err == nil && s.layout.Unpacks() {
		err = reason
	}
	if err != nil {
		return nil, err
	}
	document.Absent = absent
	for d := range absent {
		img.warn("layer %s stays where it is: %v", d, reason)
	}
	document.LeftOut = leftOut
	markLeftOut(document, leavesOut)
	// Before layers are fetched that will not be needed.
	if s.layout.Unpacks() && !image.IsConfigType(document.Config.MediaType) {
		config, err := parsed.ConfigBlob(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading its config: %w", err)
		}
		if !image.IsConfig(config) {
			return nil, layout.ErrArtifact(document)
		}
	}
	return document, nil
}

// warn records what the caller should know of an image.
func (i *savedImage) warn(format string, args ...any) {
	i.warnings = append(i.warnings, fmt.Sprintf(format, args...))
}

// rewrite returns the manifest of an image whose source does not have the layers
// that the original manifest lists, but the same in another form.
func (s *saver) rewrite(ctx context.Context, img types.Image, layers []types.BlobInfo) ([]byte, string, error) {
	layers = slices.Clone(layers)
	for i, layer := range layers {
		if image.IsPlain(layer.MediaType) {
			layers[i].CompressionOperation = types.Decompress // Makes UpdatedImage say so in the manifest.
		}
		if layer.Size < 0 && !s.layout.Unpacks() {
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

// manifest reads a manifest, whose digest is verified where it is known.
func (s *saver) manifest(ctx context.Context, img *savedImage, unparsed *ctrimage.UnparsedImage) (raw []byte, mimeType string, err error) {
	err = s.retry(ctx, img, func(ctx context.Context) error {
		raw, mimeType, err = unparsed.Manifest(ctx)
		return err
	})
	return raw, mimeType, err
}

// allowImage asks the policy about a manifest of an image, and says once of the image that
// signatures, of the kind that registries keep beside images, are not in archives.
func (s *saver) allowImage(ctx context.Context, img *savedImage, unparsed *ctrimage.UnparsedImage) error {
	err := s.ask(ctx, img, func(ctx context.Context) error { return s.allow(ctx, unparsed) })
	if err != nil || img.signed {
		return err
	}
	var signatures [][]byte
	err = s.ask(ctx, img, func(ctx context.Context) (err error) { signatures, err = unparsed.Signatures(ctx); return err })
	if err != nil {
		img.signed = true // Or it is said of each manifest.
		img.warn("whether it is signed is not known: %v", err)
	} else if len(signatures) > 0 {
		img.signed = true
		img.warn("it is signed, and the signatures do not travel with it")
	}
	return ctx.Err()
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

func (s *saver) retry(ctx context.Context, img *savedImage, f func(context.Context) error) error {
	announce := func(err error) { s.options.Progress(Event{Kind: Retried, Image: img.Source, Err: err}) }
	return s.retries().Do(ctx, announce, func() error { return s.ask(ctx, img, f) })
}

// ask calls f, which reads something of an image that is no blob, of a registry such that
// it fails when nothing comes.
func (s *saver) ask(ctx context.Context, img *savedImage, f func(context.Context) error) error {
	if !isRegistry(img.Source) {
		return f(ctx)
	}
	return stall.Ask(ctx, s.waiting, func(ctx context.Context, _ *stall.Watch) error { return f(ctx) })
}

func (s *saver) retries() retry.Policy {
	policy := retryPolicy(s.options.RetryTimes)
	policy.Delay = s.options.RetryDelay
	return policy
}
