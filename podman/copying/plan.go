package copying

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
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
	if err := s.checkLeftOut(func(digest.Digest) bool { return false }); err != nil {
		return nil, err
	}
	p := &planner{s: s, table: s.layout.NewTable(), seen: map[digest.Digest]bool{}}
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
	for _, img := range s.images {
		if s.failed(img) {
			continue
		}
		for b := range image.BlobsOf(img.documents) {
			if b.Kind != image.KindDocument {
				img.needed = append(img.needed, s.fetcher.Need(img.fetched, b))
			}
		}
	}
}

// plan returns the blobs of the images for an archive.
func (s *saver) plan() [][]image.Blob {
	var plan [][]image.Blob
	for _, img := range s.images {
		if !s.failed(img) {
			plan = append(plan, slices.Collect(image.BlobsOf(img.documents)))
		}
	}
	return plan
}

// blobSpace returns how many bytes the blobs, manifests and indexes take in the
// archive, and whether all their sizes are known.
func (s *saver) blobSpace() (need int64, known bool, err error) {
	if s.layout.Unpacks() {
		return 0, false, nil
	}
	known = true
	seen := map[digest.Digest]bool{}
	for _, blobs := range s.plan() {
		for _, b := range blobs {
			if seen[b.Digest] {
				continue
			}
			seen[b.Digest] = true
			if b.Size < 0 {
				known = false
				continue
			}
			span, err := tarfile.Span(s.layout.BlobName(b.Digest), b.Size)
			if err == nil && need > math.MaxInt64-span {
				err = tarfile.ErrTooLarge
			}
			if err != nil {
				return 0, false, fmt.Errorf("blob %s: %w", b.Digest, err)
			}
			need += span
		}
	}
	return need, known, nil
}

// planner makes a SavePlan.
type planner struct {
	s     *saver
	table layout.Table
	plan  SavePlan
	seen  map[digest.Digest]bool // blobs, as they are stored
	off   int64                  // -1 once it is not known
}

func (p *planner) run(ctx context.Context) error {
	for _, blob := range p.s.fetcher.Blobs() {
		if blob.Size < 0 || p.plan.Fetch < 0 || p.plan.Fetch > math.MaxInt64-blob.Size {
			p.plan.Fetch = -1
			continue
		}
		p.plan.Fetch += blob.Size
	}
	head, err := p.table.Head()
	if err != nil {
		return err
	}
	if err := p.small(head); err != nil {
		return err
	}
	for _, img := range p.s.images {
		if p.s.failed(img) {
			continue
		}
		if err := p.image(ctx, img); err != nil {
			if err := p.s.fail(img, err); err != nil {
				return err
			}
		}
	}
	tail, err := p.table.Tail()
	if err != nil {
		return err
	}
	if err := p.small(tail); err != nil {
		return err
	}
	const endOfArchive = 1024
	p.plan.Size = p.off
	if p.off >= 0 {
		p.plan.Size += endOfArchive
	}
	return nil
}

// image adds what an image would add to the archive.
func (p *planner) image(ctx context.Context, img *savedImage) error {
	for _, blob := range img.needed {
		if blob.Kind != image.KindConfig {
			continue
		}
		if !blob.Fetched() {
			if err := p.s.fetcher.Fetch(ctx, blob); err != nil {
				return err
			}
		}
		if err := blob.Await(ctx); err != nil {
			return err
		}
	}
	content := p.s.contentOf(img)
	img.describe(content)
	if reason := p.s.layout.LeftOut(content); reason != "" && !img.isReferrer() {
		img.warn("it is left out of manifest.json, so that docker load does not see it: %s", reason)
	}
	blobs, files, err := p.table.Place(content)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		if p.seen[b.Stored] {
			continue
		}
		p.seen[b.Stored] = true
		if err := p.entry(p.s.layout.BlobName(b.Stored), b.Size); err != nil {
			return err
		}
	}
	if err := p.small(files); err != nil {
		return err
	}
	return p.table.Add(content)
}

func (p *planner) small(files []tarfile.Small) error {
	for _, f := range files {
		if err := p.entry(f.Header.Name, int64(len(f.Data))); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) entry(name string, size int64) error {
	p.plan.Entries = append(p.plan.Entries, PlannedEntry{Name: name, Offset: p.off, Size: size})
	if size < 0 || p.off < 0 {
		p.off = -1
		return nil
	}
	span, err := tarfile.Span(name, size)
	if err == nil && p.off > math.MaxInt64-span {
		err = tarfile.ErrTooLarge
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.off += span
	return nil
}
