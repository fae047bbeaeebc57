package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// baseImage is a base that has been read.
type baseImage struct {
	source      Base          // nil of none
	digest      digest.Digest // of the manifest
	madeUp      bool          // nobody else knows the manifest
	id          digest.Digest // of the config
	layers      []layer
	from        []Base  // where each layer is
	kept        []*kept // the layers that are kept when they are read, else nil
	config      *Config
	annotations map[string]string
}

// readBase reads the manifest and config of a base; nil gives an empty image.
func readBase(ctx context.Context, source Base) (*baseImage, error) {
	if source == nil {
		return &baseImage{config: &Config{}}, nil
	}
	raw, mediaType, err := source.Manifest(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading its manifest: %w", err)
	}
	document, err := image.ParseDocument(raw, mediaType)
	if err != nil {
		return nil, fmt.Errorf("parsing its manifest: %w", err)
	}
	if document.Config == nil {
		return nil, fmt.Errorf("its manifest is of type %q, not of one image of OCI or Docker schema 2", document.Descriptor.MediaType)
	}
	var extra struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(raw, &extra); err != nil {
		return nil, fmt.Errorf("parsing its manifest: %w", err)
	}
	b := &baseImage{source: source, digest: document.Descriptor.Digest, id: document.Config.Digest, annotations: extra.Annotations}
	if b.config, err = readConfig(ctx, source, *document.Config); err != nil {
		return nil, err
	}
	if s, ok := source.(MadeUpBase); ok {
		b.madeUp = s.MadeUp()
	}
	layers, stored := document.Layers, []v1.Descriptor(nil)
	if s, ok := source.(StoredBase); ok {
		if stored, err = s.Layers(ctx); err != nil {
			return nil, fmt.Errorf("asking for its layers: %w", err)
		}
		if stored != nil {
			layers = stored
		}
	}
	ids := b.config.DiffIDs()
	if len(ids) != len(layers) {
		return nil, errdef.Errorf(errdef.ErrDamaged, "its config lists %d layers, its manifest %d", len(ids), len(layers))
	}
	for i, l := range layers {
		if err := ids[i].Validate(); err != nil {
			return nil, errdef.Errorf(errdef.ErrDamaged, "its config lists the diff ID %q: %w", ids[i], err)
		}
		if l.Size < 0 {
			return nil, fmt.Errorf("the size of its layer %s is not known", l.Digest)
		}
		if stored != nil && l.Digest == ids[i] {
			l.MediaType = v1.MediaTypeImageLayer // A store may tell that of the manifest.
		}
		b.layers = append(b.layers, layer{l, ids[i]})
		b.from = append(b.from, source)
	}
	return b, nil
}

func readConfig(ctx context.Context, source Base, d v1.Descriptor) (*Config, error) {
	body, err := source.Blob(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("reading its config: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(body, image.MaxDocument+1))
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, fmt.Errorf("reading its config: %w", err)
	}
	if len(raw) > image.MaxDocument {
		return nil, fmt.Errorf("reading its config: %w: more than %d bytes", errdef.ErrLimit, image.MaxDocument)
	}
	if got := d.Digest.Algorithm().FromBytes(raw); got != d.Digest {
		return nil, &errdef.MismatchError{Name: "its config", Want: d.Digest, Got: got}
	}
	return ParseConfig(raw)
}

// ErrNotBelow is returned, wrapped, for layers that are to be replaced but are not
// the lowest of the image.
var ErrNotBelow = errors.New("the old base is not what the image was built on")

// rebase returns an image with the layers of another base.
func (b *baseImage) rebase(old, base *baseImage) (*baseImage, error) {
	n := len(old.layers)
	if n > len(b.layers) {
		return nil, fmt.Errorf("%w: it has %d layers, the image has %d", ErrNotBelow, n, len(b.layers))
	}
	for i, l := range old.layers {
		if b.layers[i].diffID != l.diffID {
			return nil, fmt.Errorf("%w: layer %d of the image is %s instead of %s", ErrNotBelow, i, b.layers[i].diffID, l.diffID)
		}
	}
	if want, got := b.config.Platform(), base.config.Platform(); want.OS != got.OS || want.Architecture != got.Architecture {
		return nil, fmt.Errorf("the image is for %s, the new base for %s", image.PlatformString(&want), image.PlatformString(&got))
	}
	rebased := *b
	rebased.digest, rebased.madeUp, rebased.id = base.digest, base.madeUp, base.id // of what the image is built on now
	rebased.layers = slices.Concat(base.layers, b.layers[n:])
	rebased.from = slices.Concat(base.from, b.from[n:])
	rebased.config = b.config.clone()
	own := b.config.steps()
	if k := stepsOf(own, n); k >= 0 && len(base.config.steps()) > 0 {
		// The old base may have had steps that changed no file behind its last layer.
		k = max(k, min(len(old.config.steps()), len(own)))
		set(&rebased.config.image, "history", slices.Concat(base.config.steps(), own[k:]), false)
	} else {
		delete(rebased.config.image, "history")
	}
	return &rebased, nil
}

// stepsOf returns how many steps of a history made its first n layers, -1 if it does
// not tell of so many.
func stepsOf(history []fields, n int) int {
	for i, step := range history {
		if n == 0 {
			return i
		}
		if !get[bool](step, "empty_layer") {
			n--
		}
	}
	if n == 0 {
		return len(history)
	}
	return -1
}
