package catalog

import (
	"context"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Description is what can be said of an image without reading its layers.
type Description struct {
	// MediaType is that of the manifest or index; Manifest is its digest, empty
	// if the archive has no manifest of the image.
	MediaType string
	Manifest  digest.Digest
	// Config is empty for an index.
	Config   digest.Digest
	Platform *v1.Platform // nil if unknown
	// Layers is the number of layers; of an index, those of all platforms.
	Layers int
	// Size is what the config and the distinct layers take in the archive, in
	// bytes; of an index, those of all platforms.
	Size int64
	// Missing is set for a platform of an index that is not in the archive.
	Missing bool
	// Attestation is set for a manifest that is about another one, not an image.
	Attestation bool
	Manifests   []Description // of an index, in its order
}

// Describe describes the image.
func (c *Catalog) Describe(ctx context.Context, img *Image) (Description, error) {
	if docker, ok := img.contents.(*dockerImage); ok {
		return docker.describe(ctx)
	}
	d, _, err := c.describeOCI(ctx, img.contents.(*ociImage).descriptor, 2, map[digest.Digest]bool{})
	return d, err
}

func (i *dockerImage) describe(ctx context.Context) (Description, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	p, err := i.load(ctx)
	if err != nil {
		return Description{}, err
	}
	d := Description{
		MediaType: schema2ManifestType,
		Config:    p.configDigest,
		Platform:  platform(p.config),
		Layers:    len(p.diffIDs),
		Size:      int64(len(p.config)),
	}
	for _, l := range p.layers {
		d.Size += l.Member.Size
	}
	return d, nil
}

// describeOCI describes what a descriptor leads to. It also returns the sizes
// of all blobs that are there. seen are the indexes on the way.
func (c *Catalog) describeOCI(ctx context.Context, descriptor v1.Descriptor, depth int, seen map[digest.Digest]bool) (Description, map[digest.Digest]int64, error) {
	d := Description{
		MediaType:   descriptor.MediaType,
		Manifest:    descriptor.Digest,
		Platform:    descriptor.Platform,
		Attestation: isAttestation(descriptor),
	}
	if err := ctx.Err(); err != nil {
		return d, nil, err
	}
	_, doc, err := readDocument(c.files, descriptor)
	if err != nil {
		return d, nil, err
	}
	d.MediaType = doc.mediaType(descriptor.MediaType)
	sizes := map[digest.Digest]int64{}
	if doc.isIndex() {
		for _, child := range doc.Manifests {
			if seen[child.Digest] || depth == maxIndexDepth {
				continue
			}
			seen[child.Digest] = true
			m, childSizes, err := c.describeOCI(ctx, child, depth+1, seen)
			if err != nil && ctx.Err() != nil {
				return d, nil, err
			}
			m.Missing = err != nil
			d.Manifests = append(d.Manifests, m)
			for digest, size := range childSizes {
				sizes[digest] = size
			}
		}
		for _, m := range d.Manifests {
			d.Layers += m.Layers
		}
	} else {
		c.describeManifest(&d, doc, sizes)
	}
	for _, size := range sizes {
		d.Size += size
	}
	return d, sizes, nil
}

func (c *Catalog) describeManifest(d *Description, doc *document, sizes map[digest.Digest]int64) {
	blobs := doc.Layers
	d.Layers = len(doc.Layers)
	if doc.Config != nil {
		d.Config = doc.Config.Digest
		blobs = append(blobs, *doc.Config)
		if name, err := blobName(doc.Config.Digest); err == nil && PlatformString(d.Platform) == "" {
			if config, err := c.files.ReadFile(name, maxDocument); err == nil {
				d.Platform = platform(config)
			}
		}
	}
	for _, b := range blobs {
		if name, err := blobName(b.Digest); err == nil {
			if f, err := c.files.Lookup(name); err == nil {
				sizes[b.Digest] = f.Size
			}
		}
	}
}

// isAttestation reports whether a manifest in an index is one of BuildKit's
// attestations.
func isAttestation(d v1.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] == "attestation-manifest"
}
