package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
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
	// Subject is what the manifest or index is about, empty if that is nothing else.
	Subject digest.Digest
	// ArtifactType is the type of what is not an image; empty of an image.
	ArtifactType string
	Manifests    []Description // of an index, in its order
	// LayerBlobs are the layers of a manifest that are there in full, each once, as
	// digests and sizes, in bytes, of what is stored tell; of an image without a
	// manifest, their diff IDs and what they take.
	LayerBlobs []LayerBlob
	// LeftOut are layers that the archive is without on purpose, each once; of an index
	// those of all platforms.
	LeftOut []errdef.LeftOut
	// Fault is why the image, or this manifest of it, cannot be read, as far as that
	// is known without reading its layers; nil if nothing is known to be wrong. What
	// is missing from an index is none.
	Fault error
}

// LayerBlob is a layer that is in an archive.
type LayerBlob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // in bytes
}

// addLayer adds a layer unless it is among known: an image may have tens of thousands.
func (d *Description) addLayer(l LayerBlob, known map[LayerBlob]bool) {
	if !known[l] {
		known[l] = true
		d.LayerBlobs = append(d.LayerBlobs, l)
	}
}

// Describe describes the image. If it fails, because the image cannot be read, it
// returns as much as is known.
func (c *Catalog) Describe(ctx context.Context, img *Image) (Description, error) {
	if docker, ok := img.contents.(*dockerImage); ok {
		return docker.describe(ctx)
	}
	i := img.contents.(*ociImage)
	s, err := i.settle(ctx, i.descriptor)
	if err != nil {
		return Description{}, err
	}
	if s.instead != nil {
		return s.instead.describe(ctx)
	}
	d, _, err := c.describeOCI(ctx, i.descriptor, 2, map[digest.Digest]bool{})
	d.Fault = cmp.Or(d.Fault, s.err)
	if subjects := img.Subjects(); len(subjects) > 0 {
		d.Subject = subjects[0]
	}
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
		MediaType: image.DockerManifest,
		Config:    p.configDigest,
		Platform:  platform(p.config),
		Layers:    len(p.diffIDs),
		Size:      int64(len(p.config)),
	}
	for _, l := range p.layers {
		d.Size += l.Member.Size
	}
	known := map[LayerBlob]bool{}
	for _, diffID := range p.diffIDs {
		d.addLayer(LayerBlob{diffID, p.layers[diffID].Member.Size}, known)
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
	d.MediaType = doc.Type(descriptor.MediaType)
	if doc.Subject != nil {
		d.Subject = doc.Subject.Digest
	}
	if doc.IsIndex() {
		d.ArtifactType = doc.ArtifactType
	}
	sizes := map[digest.Digest]int64{}
	if doc.IsIndex() {
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
			d.leaveOut(m.LeftOut...)
		}
	} else {
		c.describeManifest(&d, doc, sizes)
	}
	for _, size := range sizes {
		d.Size += size
	}
	return d, sizes, nil
}

func (c *Catalog) describeManifest(d *Description, doc *image.Fields, sizes map[digest.Digest]int64) {
	blobs := slices.Clone(doc.Layers)
	d.Layers = len(doc.Layers)
	if doc.Config != nil {
		d.Config = doc.Config.Digest
		blobs = append(blobs, *doc.Config)
		c.describeConfig(d, doc)
	}
	known := map[LayerBlob]bool{}
	for _, b := range blobs {
		name, err := blobName(b.Digest)
		if err == nil {
			var f tarfile.Member
			if f, err = c.files.Lookup(name); err == nil {
				sizes[b.Digest] = f.Size
				if f.Size == b.Size && !isConfig(doc, b) {
					d.addLayer(LayerBlob{b.Digest, b.Size}, known)
				}
				continue
			}
		}
		if archive, ok := c.leftOut[b.Digest]; ok && !isConfig(doc, b) && errors.Is(err, fs.ErrNotExist) {
			d.leaveOut(errdef.LeftOut{Digest: b.Digest, Size: b.Size, Archive: archive})
			continue
		}
		if len(b.URLs) == 0 && !image.IsNonDistributable(b.MediaType) {
			d.Fault = cmp.Or(d.Fault, fmt.Errorf("blob %s: %w", b.Digest, err))
		}
	}
}

// describeConfig reads the config for what it is, as far as nothing else tells.
func (c *Catalog) describeConfig(d *Description, doc *image.Fields) {
	other := image.HasOtherLayers(doc.Layers)
	if other {
		d.ArtifactType = doc.Content()
	}
	if image.PlatformString(d.Platform) != "" {
		return
	}
	name, err := blobName(doc.Config.Digest)
	if err != nil {
		return
	}
	config, err := c.files.ReadFile(name, image.MaxDocument)
	if err == nil {
		d.Platform = platform(config)
	}
	if !image.IsConfigType(doc.Config.MediaType) && !image.IsConfig(config) {
		d.ArtifactType = doc.Content()
	}
}

// isAttestation reports whether a manifest in an index is one of BuildKit's
// attestations.
func isAttestation(d v1.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] == "attestation-manifest"
}
