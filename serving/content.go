package serving

import (
	"context"
	"errors"
	"io/fs"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// snapshot is the content that is served at a time.
type snapshot struct {
	archives []*opened
	images   []*image
	names    *names
	users    int // guarded by Server.mu

	reading   sync.Mutex
	content   *content // nil before it has been read
	documents documents
	server    *Server
}

func newSnapshot(s *Server, archives []*opened) *snapshot {
	v := &snapshot{archives: archives, server: s}
	for _, a := range archives {
		for n, names := range a.images {
			v.images = append(v.images, &image{names: names, from: a, position: n})
		}
	}
	v.names = newNames(s.ctx, v.images)
	return v
}

// document is a manifest or an index.
type document struct {
	listed
	images []*image // that it is of, or a part of
}

// content has the documents and blobs that can be asked for by digest.
type content struct {
	documents map[digest.Digest]*document
	owners    map[digest.Digest][]*document // of blobs
	referrers map[digest.Digest][]*document // in the order of the archives
}

// byDigest returns the content of the archives. It reads the manifests of local archives when it is first called, and
// not before: a client that asks for a tag need not wait for it. Those of archives in stores were read when these were
// opened, so no store makes clients of other archives wait. If something cannot be read now, but may be the next time,
// that call looks again.
func (v *snapshot) byDigest() *content {
	v.reading.Lock()
	defer v.reading.Unlock()
	if v.content != nil {
		return v.content
	}
	c := &content{documents: map[digest.Digest]*document{}, owners: map[digest.Digest][]*document{}, referrers: map[digest.Digest][]*document{}}
	complete := true
	images := v.images
	for _, a := range v.archives {
		all, err := a.list(v.server.ctx, v.server.reportListing(a))
		complete = complete && err == nil
		for n, found := range all {
			for _, l := range found {
				c.add(l, images[n])
			}
		}
		images = images[len(a.images):]
	}
	for _, img := range v.names.made {
		c.documents[img.made.Digest] = &document{listed: listed{Descriptor: img.made.Descriptor}, images: []*image{img}}
	}
	if complete {
		v.content = c
	}
	return c
}

// reportListing returns a function that logs what cannot be read of an archive.
func (s *Server) reportListing(o *opened) func(message string, err error) {
	return func(message string, err error) {
		s.options.Log.Warn(message, "path", printable.String(o.path), "error", printable.Error(err))
	}
}

// add notes a document of an image.
func (c *content) add(l listed, img *image) {
	if known := c.documents[l.Digest]; known != nil {
		known.images = append(known.images, img)
		return
	}
	d := &document{listed: l, images: []*image{img}}
	c.documents[l.Digest] = d
	for _, b := range l.blobs {
		if owners := c.owners[b]; len(owners) == 0 || owners[len(owners)-1] != d {
			c.owners[b] = append(owners, d)
		}
	}
	if l.subject != "" {
		c.referrers[l.subject] = append(c.referrers[l.subject], d)
	}
}

// membership finds out which documents a repository has, each document once.
type membership struct {
	content    *content
	repository *repository
	not        map[*document]bool // documents that it has not, or that are being looked up
}

func (c *content) of(r *repository) *membership {
	return &membership{content: c, repository: r, not: map[*document]bool{}}
}

// has reports whether the repository has a document: one of its images, or a document about
// one.
func (m *membership) has(d *document) bool {
	if d == nil || m.not[d] {
		return false
	}
	for _, img := range d.images {
		if m.repository.images[img] {
			return true
		}
	}
	m.not[d] = true
	for _, img := range d.images {
		for _, subject := range img.about {
			if m.has(m.content.documents[subject]) {
				return true
			}
		}
	}
	return d.subject != "" && m.has(m.content.documents[d.subject])
}

// tagged returns the image that a repository has under a tag, nil if there is none.
func (v *snapshot) tagged(r *repository, tag string) *image {
	if img := r.tags[tag]; img != nil {
		return img
	}
	img := v.names.digestTags[tag]
	if img == nil {
		return nil
	}
	c := v.byDigest()
	members := c.of(r)
	for _, subject := range img.about {
		if members.has(c.documents[subject]) {
			return img
		}
	}
	return nil
}

// manifest reads a manifest or an index of a repository. The error wraps
// fs.ErrNotExist if there is none of this digest.
func (v *snapshot) manifest(ctx context.Context, r *repository, d digest.Digest) (*archive.Manifest, error) {
	c := v.byDigest()
	doc := c.documents[d]
	if !c.of(r).has(doc) {
		return nil, fs.ErrNotExist
	}
	var failed error
	for _, img := range doc.images {
		m, err := v.documents.get(ctx, img, d)
		if err == nil {
			return m, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

// owners returns the images with a blob that a repository has: its own, and those of other repositories that say
// that they have the same.
func (v *snapshot) owners(r *repository, d digest.Digest) (own, others []*image) {
	c := v.byDigest()
	members := c.of(r)
	for _, owner := range c.owners[d] {
		if !members.has(owner) {
			continue
		}
		for _, img := range owner.images {
			if r.images[img] {
				own = append(own, img)
			} else {
				others = append(others, img)
			}
		}
	}
	return own, others
}

// blob finds a blob, with one of its images, in the archives of its owners. It can be read until done is called. The
// error wraps fs.ErrNotExist if no archive has the digest.
func (v *snapshot) blob(ctx context.Context, owners []*image, d digest.Digest) (b *archive.Blob, of *image, done func(), err error) {
	failed := error(fs.ErrNotExist)
	for _, img := range owners {
		err := img.from.checked.of(d)
		if err == nil {
			b, done, err = img.blob(ctx, d)
		}
		if err == nil {
			return b, img, done, nil
		}
		if errors.Is(failed, fs.ErrNotExist) {
			failed = err
		}
	}
	return nil, nil, nil, failed
}
