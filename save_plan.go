package dockerarchive

import (
	"context"
	"fmt"
	"iter"
	"math"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/signature"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// SavePlan says what Save would write.
type SavePlan struct {
	// Images are the results that Save would return.
	Images []SaveResult
	// Entries are those of the archive, in its order.
	Entries []PlannedEntry
	// Size is that of the archive in bytes, -1 if it is not known, as of layers
	// that have to be decompressed first.
	Size int64
	// Fetch is how many bytes the distinct layers and configs have at their
	// sources, -1 if that is not known.
	Fetch int64
}

// PlannedEntry is an entry of an archive that has not been written.
type PlannedEntry struct {
	Name   string
	Offset int64 // of its header, in bytes; -1 if it is not known
	Size   int64 // of its content, in bytes; -1 if it is not known
}

// PlanSave returns what Save would write. It reads manifests and configs, and no
// layers. The error is as that of Save.
func PlanSave(ctx context.Context, policyContext *signature.PolicyContext, images []SaveImage, options *SaveOptions) (*SavePlan, error) {
	s, err := newSaver(policyContext, images, options)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	p := &planner{s: s, seen: map[string]bool{}}
	if err := p.run(ctx); err != nil {
		return nil, err
	}
	p.plan.Images = s.results()
	if s.anyFailed() {
		return &p.plan, ErrImagesLeftOut
	}
	return &p.plan, nil
}

// collect finds the distinct blobs of all images that have not failed.
func (s *saver) collect() {
	byDigest := map[digest.Digest]*savedBlob{}
	for _, img := range s.images {
		if img.failed() {
			continue
		}
		for _, document := range img.documents {
			for i, blob := range document.blobs {
				known, ok := byDigest[blob.info.Digest]
				if !ok {
					known = blob
					known.done = make(chan struct{})
					byDigest[blob.info.Digest] = known
					s.blobs = append(s.blobs, known)
				}
				known.config = known.config || blob.config
				document.blobs[i] = known
				if n := len(known.users); n == 0 || known.users[n-1] != img {
					known.users = append(known.users, img)
				}
			}
		}
	}
}

// plan returns the blobs of the images for a Writer.
func (s *saver) plan() [][]plannedBlob {
	var plan [][]plannedBlob
	for _, img := range s.images {
		if img.failed() {
			continue
		}
		var blobs []plannedBlob
		for _, document := range img.documents {
			for _, blob := range document.blobs {
				blobs = append(blobs, plannedBlob{blob.info.Digest, blob.info.Size, !blob.config, blob.info.MediaType})
			}
			blobs = append(blobs, planDocument(document.raw))
		}
		plan = append(plan, blobs)
	}
	return plan
}

// blobSpace returns how many bytes the blobs, manifests and indexes take in the
// archive, and whether all their sizes are known.
func (s *saver) blobSpace() (need int64, known bool) {
	known = !s.transport.layout.decompresses()
	seen := map[digest.Digest]bool{}
	for _, blobs := range s.plan() {
		for _, blob := range blobs {
			if seen[blob.digest] {
				continue
			}
			seen[blob.digest] = true
			if blob.size < 0 {
				known = false
				continue
			}
			span, err := tarfile.Span("a", blob.size) // At least that; a longer header is not worth counting.
			if err != nil || span > math.MaxInt64-need {
				known = false
				continue
			}
			need += span
		}
	}
	return need, known
}

// digests returns the digests of all blobs, manifests and indexes of an image.
func (i *savedImage) digests() iter.Seq[digest.Digest] {
	return func(yield func(digest.Digest) bool) {
		for _, document := range i.documents {
			for _, blob := range document.blobs {
				if !yield(blob.info.Digest) {
					return
				}
			}
			if !yield(document.digest) {
				return
			}
		}
	}
}

// planner makes a SavePlan.
type planner struct {
	s    *saver
	plan SavePlan
	seen map[string]bool // names of blobs
	off  int64           // -1 once it is not known
}

func (p *planner) run(ctx context.Context) error {
	for _, blob := range p.s.blobs {
		if blob.info.Size < 0 || p.plan.Fetch < 0 {
			p.plan.Fetch = -1
			continue
		}
		p.plan.Fetch += blob.info.Size
	}
	contents := p.s.transport.layout.newContents(p.s.destinationCtx())
	head, err := contents.head()
	if err != nil {
		return err
	}
	p.small(head)
	for _, img := range p.s.images {
		if img.failed() {
			continue
		}
		if err := p.image(ctx, img, contents); err != nil {
			if err := p.s.fail(img, err); err != nil {
				return err
			}
		}
	}
	tail, err := contents.tail()
	if err != nil {
		return err
	}
	p.small(tail)
	const endOfArchive = 1024
	p.plan.Size = p.off
	if p.off >= 0 {
		p.plan.Size += endOfArchive
	}
	return nil
}

// image adds what an image would add to the archive.
func (p *planner) image(ctx context.Context, img *savedImage, c contents) error {
	d := &imageDestination{configs: map[digest.Digest][]byte{}, manifests: map[digest.Digest][]byte{}, top: img.digest}
	if img.Name != nil {
		d.names = []reference.Named{img.Name}
	}
	for _, document := range img.documents {
		d.manifests[document.digest] = document.raw
		for _, blob := range document.blobs {
			if !blob.config {
				continue
			}
			select {
			case <-blob.done:
			default:
				if err := p.s.fetch(ctx, blob); err != nil {
					return err
				}
			}
			if blob.err != nil {
				return blob.err
			}
			d.configs[blob.info.Digest] = blob.data
		}
	}
	if docker, ok := c.(*dockerContents); ok {
		return p.dockerImage(d, img, docker)
	}
	return p.ociImage(d, img, c.(*ociContents))
}

func (p *planner) ociImage(d *imageDestination, img *savedImage, c *ociContents) error {
	l := p.s.transport.layout
	for _, document := range img.documents {
		for _, blob := range document.blobs {
			p.blob(l.blobName(blob.info.Digest), blob.info.Size)
		}
		p.blob(l.blobName(document.digest), int64(len(document.raw)))
	}
	top := img.top()
	item, topLayer, err := d.dockerItem(c.sys, top.raw, manifest.GuessMIMEType(top.raw))
	if err != nil {
		return err
	}
	c.name(imgspecv1.Descriptor{MediaType: manifest.GuessMIMEType(top.raw), Digest: top.digest, Size: int64(len(top.raw))}, d.names)
	if item != nil {
		c.dockerIndex.add(*item, d.names, topLayer)
	}
	return nil
}

func (p *planner) dockerImage(d *imageDestination, img *savedImage, c *dockerContents) error {
	top := img.top()
	parsed, err := manifest.FromBlob(top.raw, top.mimeType)
	if err != nil {
		return err
	}
	configDigest := parsed.ConfigInfo().Digest
	diffIDs, err := d.diffIDs(configDigest)
	if err != nil {
		return err
	}
	image := &dockerImage{config: d.configs[configDigest], configDigest: configDigest, names: d.names}
	if image.legacy, err = legacyLayers(image.config, diffIDs); err != nil {
		return fmt.Errorf("config %s: %w", configDigest, err)
	}
	for _, diffID := range diffIDs {
		p.blob(p.s.transport.layout.blobName(diffID), -1)
	}
	files, err := c.filesOf(image)
	if err != nil {
		return err
	}
	p.small(files)
	c.add(image)
	return nil
}

// blob adds an entry, once.
func (p *planner) blob(name string, size int64) {
	if !p.seen[name] {
		p.seen[name] = true
		p.entry(name, size)
	}
}

func (p *planner) small(files []tarfile.Small) {
	for _, f := range files {
		p.entry(f.Header.Name, int64(len(f.Data)))
	}
}

func (p *planner) entry(name string, size int64) {
	p.plan.Entries = append(p.plan.Entries, PlannedEntry{Name: name, Offset: p.off, Size: size})
	if size < 0 || p.off < 0 {
		p.off = -1
		return
	}
	span, err := tarfile.Span(name, size)
	if err != nil || span > math.MaxInt64-p.off {
		p.off = -1
		return
	}
	p.off += span
}
