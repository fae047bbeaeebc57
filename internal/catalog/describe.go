package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/imageinfo"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// addLayer adds a layer unless it is among known: an image may have tens of thousands.
func addLayer(d *imageinfo.Manifest, l imageinfo.Layer, known map[imageinfo.Layer]bool) {
	if !known[l] {
		known[l] = true
		d.LayerBlobs = append(d.LayerBlobs, l)
	}
}

// Describe describes the image. If it fails, because the image cannot be read, it
// returns as much as is known.
func (c *Catalog) Describe(ctx context.Context, img *Image) (imageinfo.Manifest, error) {
	if docker, ok := img.contents.(*dockerImage); ok {
		return docker.describe(ctx)
	}
	i := img.contents.(*ociImage)
	s := &settled{}
	if _, listed := c.hints[i.descriptor.Digest]; !listed { // Settling may read each layer, and the writer of the listing has done it.
		var err error
		if s, err = i.settle(ctx, i.descriptor); err != nil {
			return imageinfo.Manifest{}, err
		}
	}
	if s.instead != nil {
		return s.instead.describe(ctx)
	}
	d, _, err := c.describeOCI(ctx, i.descriptor, 0, map[digest.Digest]bool{})
	d.Fault = cmp.Or(d.Fault, s.err)
	if subjects := img.Subjects(); len(subjects) > 0 {
		d.Subject = subjects[0]
	}
	return d, err
}

func (i *dockerImage) describe(ctx context.Context) (imageinfo.Manifest, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	p, err := i.load(ctx)
	if err != nil {
		return imageinfo.Manifest{}, err
	}
	d := imageinfo.Manifest{
		MediaType: image.DockerManifest,
		Config:    p.configDigest,
		Platform:  imageinfo.NewPlatform(platform(p.config)),
		Created:   created(p.config),
		Layers:    len(p.diffIDs),
		Size:      int64(len(p.config)),
	}
	for _, l := range p.layers {
		d.Size += l.Member.Size
	}
	known := map[imageinfo.Layer]bool{}
	for _, diffID := range p.diffIDs {
		addLayer(&d, imageinfo.Layer{Digest: diffID, Size: p.layers[diffID].Member.Size}, known)
	}
	return d, nil
}

// describeOCI describes what a descriptor leads to. It also returns the sizes
// of all blobs that are there. seen are the indexes on the way.
func (c *Catalog) describeOCI(ctx context.Context, descriptor v1.Descriptor, depth int, seen map[digest.Digest]bool) (imageinfo.Manifest, map[digest.Digest]int64, error) {
	d := imageinfo.Manifest{
		MediaType:   descriptor.MediaType,
		Digest:      descriptor.Digest,
		Platform:    imageinfo.NewPlatform(descriptor.Platform),
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
			if seen[child.Digest] || depth == image.MaxIndexDepth {
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
			if m.Created != nil && !m.Attestation && (d.Created == nil || m.Created.After(*d.Created)) {
				d.Created = m.Created
			}
			leaveOut(&d, m.LeftOut...)
		}
	} else {
		c.describeManifest(&d, doc, sizes)
	}
	for _, size := range sizes {
		d.Size += size
	}
	return d, sizes, nil
}

func (c *Catalog) describeManifest(d *imageinfo.Manifest, doc *image.Fields, sizes map[digest.Digest]int64) {
	blobs := slices.Clone(doc.Layers)
	d.Layers = len(doc.Layers)
	if doc.Config != nil {
		d.Config = doc.Config.Digest
		blobs = append(blobs, *doc.Config)
		c.describeConfig(d, doc)
	}
	known := map[imageinfo.Layer]bool{}
	for _, b := range blobs {
		name, err := blobName(b.Digest)
		if err == nil {
			var f tarfile.Member
			if f, err = c.files.Lookup(name); err == nil {
				sizes[b.Digest] = f.Size
				if f.Size == b.Size && !isConfig(doc, b) {
					addLayer(d, imageinfo.Layer{Digest: b.Digest, Size: b.Size}, known)
				}
				continue
			}
		}
		if e, ok := c.leftOut[b.Digest]; ok && !isConfig(doc, b) && errors.Is(err, fs.ErrNotExist) {
			leaveOut(d, e.Of(b))
			continue
		}
		if len(b.URLs) == 0 && !image.IsNonDistributable(b.MediaType) {
			d.Incomplete = true
			d.Fault = cmp.Or(d.Fault, fmt.Errorf("blob %s: %w", b.Digest, err))
		}
	}
}

// describeConfig reads the config for its time and, as far as nothing else tells, for what it is.
func (c *Catalog) describeConfig(d *imageinfo.Manifest, doc *image.Fields) {
	other := image.HasOtherLayers(doc.Layers)
	if other {
		d.ArtifactType = doc.Content()
	}
	name, err := blobName(doc.Config.Digest)
	if err != nil {
		return
	}
	config, err := c.files.ReadFile(name, image.MaxDocument)
	if err == nil {
		d.Created = created(config)
	}
	if !d.Platform.IsZero() {
		return
	}
	if err == nil {
		d.Platform = imageinfo.NewPlatform(platform(config))
	}
	if !image.IsConfigType(doc.Config.MediaType) && !image.IsConfig(config) {
		d.ArtifactType = doc.Content()
	}
}

// created returns when a config says that its image was made, or nil.
func created(config []byte) *time.Time {
	parsed, err := image.ParseConfig("", config)
	if err != nil {
		return nil
	}
	return parsed.Created
}

// isAttestation reports whether a manifest in an index is one of BuildKit's
// attestations.
func isAttestation(d v1.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] == "attestation-manifest"
}
