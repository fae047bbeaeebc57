package serving

import (
	"context"
	"errors"
	"io/fs"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
	files "github.com/dockerarchive/dockerarchive/internal/image"
)

// maxListing is how many manifests of an archive in a store are read at the same time.
const maxListing = 8

// listed is a manifest or an index, with what others need to know of it.
type listed struct {
	imgspecv1.Descriptor // as it is listed by the referrers API
	subject              digest.Digest
	blobs                []digest.Digest
}

// listing is what the images of an archive consist of. It is read once, however many snapshots have the archive.
type listing struct {
	mu     sync.Mutex
	images [][]listed // by position, each image's own manifest first; nil before everything has been read
}

// list returns the listing of the archive. If something cannot be read now, but may be later, it returns all that can
// be read with the error, and the next call reads everything again. report, if not nil, gets each error.
func (o *opened) list(ctx context.Context, report func(message string, err error)) ([][]listed, error) {
	o.listing.mu.Lock()
	defer o.listing.mu.Unlock()
	if o.listing.images != nil {
		return o.listing.images, nil
	}
	images, err := o.readListing(ctx, report)
	if errors.Is(err, errdef.ErrDamaged) && o.elsewhere() { // It may only have been damaged on its way.
		o.forget()
		images, err = o.readListing(ctx, report)
	}
	if ctx.Err() != nil { // What is missing is no fault of the archive.
		return images, context.Cause(ctx)
	}
	if err != nil && mayPass(err) {
		return images, err
	}
	o.listing.images = images
	return images, nil
}

// readListing reads the manifests of all images. It returns all that can be read. The error is one that may pass, if
// there is such, or else one of ErrDamaged. One that may pass ends the reading from a store: the patience with each of
// thousands of manifests would add up to hours, in which no other archive is opened.
func (o *opened) readListing(ctx context.Context, report func(message string, err error)) ([][]listed, error) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	var mu sync.Mutex
	var worst error
	failed := func(message string, err error) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		if worst == nil || mayPass(err) {
			worst = err
		}
		if mayPass(err) && o.elsewhere() {
			end()
		}
		if report != nil {
			report(message, err)
		}
	}
	images := make([][]listed, len(o.images))
	var group errgroup.Group
	group.SetLimit(1)
	if o.elsewhere() {
		group.SetLimit(maxListing)
	}
	for n := range images {
		group.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			walk := &listingWalk{img: &image{from: o, position: n}, seen: map[digest.Digest]bool{}, failed: failed}
			m, err := walk.img.find(ctx, "")
			if err != nil {
				failed("image cannot be read", err)
				return nil
			}
			walk.add(ctx, m, 0)
			images[n] = walk.found
			return nil
		})
	}
	_ = group.Wait() // Always nil.
	return images, worst
}

// listingWalk reads the manifests of an image.
type listingWalk struct {
	img    *image
	seen   map[digest.Digest]bool
	found  []listed
	failed func(message string, err error)
}

// add notes a manifest, or an index and all that it leads to.
func (w *listingWalk) add(ctx context.Context, m *archive.Manifest, depth int) {
	if w.seen[m.Digest] {
		return
	}
	w.seen[m.Digest] = true
	w.found = append(w.found, newListed(m))
	if depth == files.MaxIndexDepth {
		return
	}
	for _, d := range m.Manifests() {
		if ctx.Err() != nil {
			return
		}
		child, err := w.img.find(ctx, d.Digest)
		switch {
		case err == nil:
			w.add(ctx, child, depth+1)
		case !errors.Is(err, fs.ErrNotExist): // A manifest that was not saved is no error.
			w.failed("manifest cannot be read", err)
		}
	}
}

func newListed(m *archive.Manifest) listed {
	var fields struct {
		ArtifactType string                 `json:"artifactType"`
		Config       *imgspecv1.Descriptor  `json:"config"`
		Layers       []imgspecv1.Descriptor `json:"layers"`
		Subject      *imgspecv1.Descriptor  `json:"subject"`
		Annotations  map[string]string      `json:"annotations"`
	}
	_ = files.Decode("manifest", m.Data, &fields) // Package archive has read it before.
	l := listed{Descriptor: imgspecv1.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size, ArtifactType: fields.ArtifactType}}
	for _, b := range fields.Layers {
		l.blobs = append(l.blobs, b.Digest)
	}
	if fields.Config != nil {
		l.blobs = append(l.blobs, fields.Config.Digest)
		if l.ArtifactType == "" {
			l.ArtifactType = fields.Config.MediaType
		}
	}
	if fields.Subject != nil {
		l.subject, l.Annotations = fields.Subject.Digest, fields.Annotations
	}
	return l
}
