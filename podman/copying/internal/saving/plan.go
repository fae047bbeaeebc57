package saving

import (
	"context"
	"fmt"
	"math"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
)

// Planned describes the archive that Save would write.
type Planned struct {
	// Images are the results that Save would return.
	Images []Result
	// Entries are those of the archive, in its order.
	Entries []Entry
	// Size is that of the archive in bytes, -1 if it is not known, as with layers that
	// have to be decompressed first.
	Size int64
	// Fetch is how many bytes the distinct layers and configs have at their
	// sources, -1 if that is not known.
	Fetch int64
}

// Entry is an entry of an archive that has not been written.
type Entry struct {
	Name   string
	Offset int64 // of its header, in bytes; -1 if it is not known
	Size   int64 // of its content, in bytes; -1 if it is not known
}

// Plan returns the plan of the archive that Save would write.
func Plan(ctx context.Context, images []selecting.Wanted, o Options) (*Planned, error) {
	s, err := newSaver(images, o)
	if err != nil {
		return nil, err
	}
	defer s.from.Close()
	if err := s.from.Read(ctx); err != nil {
		return nil, err
	}
	defer s.spooled.close()
	if err := s.makeDeltas(ctx); err != nil {
		return nil, err
	}
	return s.plan(ctx)
}

// PlanOf returns the plan of the archive that Stream would write.
func PlanOf(ctx context.Context, from *selecting.Selection) (*Planned, error) {
	return over(from).plan(ctx)
}

func (s *saver) plan(ctx context.Context) (*Planned, error) {
	if err := s.from.CheckLeftOut(func(digest.Digest) bool { return false }); err != nil {
		return nil, err
	}
	p := &planner{s: s, table: s.from.Layout.NewTable(), seen: map[digest.Digest]bool{}}
	if err := p.run(ctx); err != nil {
		return nil, err
	}
	p.plan.Images = s.results()
	if s.from.AnyFailed() {
		return &p.plan, selecting.ErrLeftOut
	}
	return &p.plan, nil
}

// planner makes a Planned.
type planner struct {
	s     *saver
	table layout.Table
	plan  Planned
	seen  map[digest.Digest]bool // blobs, as they are stored
	off   int64                  // -1 once it is not known
	// listing has the entries so far.
	listing tarfile.Listing
}

func (p *planner) run(ctx context.Context) error {
	for _, blob := range p.s.whole().Fetcher.Blobs() {
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
	if err := p.small(tarfile.List(head...)); err != nil {
		return err
	}
	for _, img := range p.s.from.Images {
		if p.s.from.Err(img) != nil {
			continue
		}
		if err := p.image(ctx, img); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := p.s.from.Fail(img, err); err != nil {
				return err
			}
		}
	}
	tail, err := p.table.Tail()
	if err != nil {
		return err
	}
	if notes, ok := p.table.Notes(); ok {
		listing, ok, err := p.listing.Entry(tail, notes)
		if err != nil {
			return err
		}
		if ok {
			tail = append(tail, listing)
		}
	}
	if err := p.small(tarfile.List(tail...)); err != nil {
		return err
	}
	const endOfArchive = 1024
	p.plan.Size = p.off
	if p.off >= 0 {
		p.plan.Size += endOfArchive
	}
	return nil
}

// image adds the blobs that an image would add to the archive.
func (p *planner) image(ctx context.Context, img *selecting.Image) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := p.s.from.FetchConfigs(ctx, img); err != nil {
		return err
	}
	content := p.s.from.ContentOf(img)
	if reason := p.s.from.Layout.LeftOut(content); reason != "" && !img.IsReferrer() {
		img.Warn("it is left out of manifest.json, so that docker load does not see it: %s", reason)
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
		if err := p.entry(p.s.from.Layout.BlobName(b.Stored), b.Size); err != nil {
			return err
		}
	}
	if err := p.small(files); err != nil {
		return err
	}
	img.Warnings = append(img.Warnings, p.table.SameTags(content)...)
	return p.table.Add(content)
}

func (p *planner) small(files tarfile.Smalls) error {
	for f, err := range files.All() {
		if err != nil {
			return err
		}
		if err := p.entry(f.Header.Name, int64(len(f.Data))); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) entry(name string, size int64) error {
	p.listing.Add(name, size)
	p.plan.Entries = append(p.plan.Entries, Entry{Name: name, Offset: p.off, Size: size})
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
