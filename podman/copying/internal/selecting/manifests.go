package selecting

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	ctrimage "go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/stall"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
	"github.com/dockerarchive/dockerarchive/progress"
)

// readIndex reads all that an index lists.
func (r *reading) readIndex(ctx context.Context, unparsed *ctrimage.UnparsedImage, raw []byte, mimeType string, depth int) (*image.Document, error) {
	if depth > image.MaxIndexDepth {
		return nil, image.ErrDepth
	}
	if err := r.allowImage(ctx, unparsed); err != nil {
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
	return document, r.readInstances(ctx, instances, depth+1)
}

// readInstances reads manifests and indexes that an index lists.
func (r *reading) readInstances(ctx context.Context, instances []digest.Digest, depth int) error {
	unparsed := make([]*ctrimage.UnparsedImage, len(instances))
	for i := range instances {
		unparsed[i] = ctrimage.UnparsedInstance(r.img.src, &instances[i])
	}
	// Other sources do not promise that they serve two requests at once, and none needs
	// it as much.
	if r.img.Source.Transport().Name() == docker.Transport.Name() {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(r.s.options.Jobs)
		for i, u := range unparsed {
			g.Go(func() error {
				_, _, err := r.manifest(ctx, u) // u keeps it.
				return ofIndex(instances[i], err)
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	var missing []string
	for i, u := range unparsed {
		if r.img.found[instances[i]] != nil {
			continue
		}
		_, _, err := r.manifest(ctx, u)
		if errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, instances[i].String())
			continue
		}
		document, err := r.readInstance(ctx, u, instances[i], depth)
		if err != nil {
			return err
		}
		if r.skipsIncomplete() {
			if err := r.lacking(ctx, document); err != nil {
				r.img.Warn("%s of its index is incomplete, and is left out: %v", instances[i], err)
				missing = append(missing, instances[i].String())
				continue
			}
		}
		document.Descriptor.Digest = instances[i] // The digest in the index.
		r.img.found[instances[i]] = document
	}
	nothing := depth <= 1 && len(missing) == len(instances) // None is left in the image's own index.
	if len(missing) > 0 && (nothing || !r.skipsMissing()) {
		return &errdef.MissingError{Missing: missing}
	}
	if len(missing) > 0 {
		r.img.Missing = append(r.img.Missing, missing...)
		r.img.Warn("%v", &errdef.MissingError{Missing: missing})
	}
	return nil
}

func ofIndex(instance digest.Digest, err error) error {
	if err != nil {
		return fmt.Errorf("%s of its index: %w", instance, err)
	}
	return nil
}

// readInstance reads an entry of an index. depth is that of the index in the archive,
// or -1 if the archive will have the instance only.
func (r *reading) readInstance(ctx context.Context, unparsed *ctrimage.UnparsedImage, instance digest.Digest, depth int) (*image.Document, error) {
	raw, mimeType, err := r.manifest(ctx, unparsed)
	if err != nil {
		return nil, ofIndex(instance, err)
	}
	switch {
	case !manifest.MIMETypeIsMultiImage(mimeType) && depth < 0:
		return r.readManifest(ctx, unparsed, &instance, false)
	case !manifest.MIMETypeIsMultiImage(mimeType):
		return r.readManifest(ctx, unparsed, &instance, true)
	case depth < 0:
		return nil, fmt.Errorf("%s is an index in an index, from which no platform can be chosen; save all platforms", instance)
	}
	return r.readIndex(ctx, unparsed, raw, mimeType, depth)
}

// readManifest reads a manifest, or that of an instance of an index. listed is set if the
// archive will have that index.
func (r *reading) readManifest(ctx context.Context, unparsed *ctrimage.UnparsedImage, instance *digest.Digest, listed bool) (*image.Document, error) {
	if err := r.allowImage(ctx, unparsed); err != nil {
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
	parsed, err := sources.Parse(ctx, r.s.sourceCtx(r.img), r.img.src, instance, unparsed)
	if err != nil {
		return nil, fmt.Errorf("parsing its manifest: %w", err)
	}
	updated, err := parsed.LayerInfosForCopy(ctx)
	if err != nil {
		return nil, err
	}
	if updated != nil && !reflect.DeepEqual(updated, parsed.LayerInfos()) {
		if listed {
			return nil, errors.New("its layers are not stored as its index says; choose one platform")
		}
		if raw, mimeType, err = r.s.rewrite(ctx, parsed, updated); err != nil {
			return nil, err
		}
	}
	document, err := image.ParseDocument(raw, mimeType)
	if err != nil {
		return nil, fmt.Errorf("parsing its manifest: %w", err)
	}
	if err := r.s.Layout.Check(document); err != nil {
		return nil, err
	}
	leftOut, err := r.leftOut(ctx, document, parsed)
	if err != nil {
		return nil, err
	}
	leavesOut := func(l imgspecv1.Descriptor) bool {
		_, ok := leftOut[l.Digest]
		return ok || r.s.leavesOut(l)
	}
	wanted := slices.DeleteFunc(slices.Clone(document.Layers), leavesOut)
	absent, reason, err := sources.Absent(ctx, r.img.src, wanted, func(f func(context.Context) error) error { return r.retry(ctx, f) })
	if err == nil && r.s.Layout.Unpacks() {
		err = reason
	}
	if err != nil {
		return nil, err
	}
	document.Absent = absent
	for d := range absent {
		r.img.Warn("layer %s stays where it is: %v", d, reason)
	}
	document.LeftOut = leftOut
	document = withoutLayers(document, leavesOut)
	// Before layers are fetched that will not be needed.
	if r.s.Layout.Unpacks() && !image.IsConfigType(document.Config.MediaType) {
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

// rewrite returns the manifest of an image whose source does not have the layers
// that the original manifest lists, but the same in another form.
func (s *Selection) rewrite(ctx context.Context, img types.Image, layers []types.BlobInfo) ([]byte, string, error) {
	layers = slices.Clone(layers)
	for i, layer := range layers {
		if image.IsPlain(layer.MediaType) {
			layers[i].CompressionOperation = types.Decompress // Makes UpdatedImage say so in the manifest.
		}
		if layer.Size < 0 && !s.Layout.Unpacks() {
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

// manifest reads a manifest, and verifies its digest if that is known.
func (r *reading) manifest(ctx context.Context, unparsed *ctrimage.UnparsedImage) (raw []byte, mimeType string, err error) {
	err = r.retry(ctx, func(ctx context.Context) error {
		raw, mimeType, err = unparsed.Manifest(ctx)
		return err
	})
	return raw, mimeType, err
}

// allowImage asks the policy about a manifest of an image, and warns once per image that
// archives do not hold the signatures that registries keep beside images.
func (r *reading) allowImage(ctx context.Context, unparsed *ctrimage.UnparsedImage) error {
	err := r.ask(ctx, func(ctx context.Context) error { return r.s.allow(ctx, unparsed) })
	if err != nil || r.img.signed {
		return err
	}
	var signatures [][]byte
	err = r.ask(ctx, func(ctx context.Context) (err error) { signatures, err = unparsed.Signatures(ctx); return err })
	if err != nil {
		r.img.signed = true // So that it is reported once, and not for each manifest.
		r.img.Warn("whether it is signed is not known: %v", err)
	} else if len(signatures) > 0 {
		r.img.signed = true
		r.img.Warn("it is signed, and the signatures do not travel with it")
	}
	return ctx.Err()
}

// allow asks the policy about a manifest, as copy.Image does.
func (s *Selection) allow(ctx context.Context, unparsed types.UnparsedImage) error {
	s.policyMu.Lock()
	defer s.policyMu.Unlock()
	if allowed, err := s.options.Policy.IsRunningImageAllowed(ctx, unparsed); !allowed || err != nil {
		return fmt.Errorf("rejected by the signature policy: %w", err)
	}
	return nil
}

func (r *reading) retry(ctx context.Context, f func(context.Context) error) error {
	announce := func(err error) {
		r.s.options.Progress(progress.Event{Kind: progress.Retried, Image: transports.ImageName(r.img.Source), Err: err})
	}
	return r.s.options.Retries.Do(ctx, announce, func() error { return r.ask(ctx, f) })
}

// ask calls f, which reads something else of an image than a blob. For a registry it
// fails when nothing comes.
func (r *reading) ask(ctx context.Context, f func(context.Context) error) error {
	if !sources.IsRegistry(r.img.Source) {
		return f(ctx)
	}
	return stall.Ask(ctx, r.s.Waiting, func(ctx context.Context, _ *stall.Watch) error { return f(ctx) })
}
