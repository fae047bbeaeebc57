// Package bases has the layers that an archive is without: those of other archives and
// stores, and those that deltas make from them. It makes such deltas, too, and finds what
// to make them from. It knows nothing of images.
package bases

import (
	"context"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Layer is a layer that a base has.
type Layer struct {
	From string // the name of the base that has it
	// Digest is the manifest's digest of the bytes that Open returns; "" if they may differ.
	Digest digest.Digest
	Size   int64 // in bytes, of what Open returns; -1 if that is not known
	// DiffID is the digest of what Open returns when it is decompressed, "" if unknown.
	DiffID digest.Digest
	// Open returns the layer, compressed or not. It need not be verified.
	Open func(ctx context.Context) (*catalog.Loan, error)

	made *recipe // nil if it is there
}

// Set is layers that archives may borrow: a catalog.Lender. It is filled first; after that
// it may be used concurrently. The zero value is empty.
type Set struct {
	// TempDir is the directory for temporary files, which have no names; "" is the
	// system's for large ones.
	TempDir string
	// Keep is how many bytes of made layers are kept, to be lent again.
	Keep int64

	mu       sync.Mutex
	layers   []*Layer
	byDigest map[digest.Digest]*Layer
	byDiffID map[digest.Digest]*Layer
	recipes  map[*catalog.Lacked]*recipe
	waiting  map[digest.Digest][]*waiting // for a layer with this digest or diff ID
	sketches []*sketch                    // of layers; nil before they are needed
	made     kept
	turn     turn
}

// waiting is a layer that is made of others, while one of them is not there yet. For the next one
// it waits anew.
type waiting struct {
	layer *Layer
	woken bool
}

// Add adds a layer. The first of several with one digest, or one diff ID, is the one that is
// lent.
func (s *Set) Add(l Layer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(&l)
}

// add adds a layer, and those that can be made now that it is there.
func (s *Set) add(l *Layer) {
	if s.byDigest == nil {
		s.byDigest, s.byDiffID = map[digest.Digest]*Layer{}, map[digest.Digest]*Layer{}
	}
	for added := []*Layer{l}; len(added) > 0; added = added[1:] {
		l := added[0]
		s.layers, s.sketches = append(s.layers, l), nil
		if l.Digest != "" && s.byDigest[l.Digest] == nil {
			s.byDigest[l.Digest] = l
		}
		if l.DiffID != "" && s.byDiffID[l.DiffID] == nil {
			s.byDiffID[l.DiffID] = l
		}
		woken := slices.Concat(s.waiting[l.Digest], s.waiting[l.DiffID])
		delete(s.waiting, l.Digest)
		delete(s.waiting, l.DiffID)
		for _, w := range woken {
			if w.woken {
				continue
			}
			if w.woken = true; s.await(w.layer) {
				added = append(added, w.layer)
			}
		}
	}
}

// await reports whether a layer can be made. If not, it waits for a layer that is not there.
func (s *Set) await(l *Layer) bool {
	missing, err := s.resolve(l.made)
	if err == nil {
		return true
	}
	if s.waiting == nil {
		s.waiting = map[digest.Digest][]*waiting{}
	}
	w := &waiting{layer: l}
	for _, d := range []digest.Digest{image.SHA256(missing.Digest), image.SHA256(missing.TextDigest)} {
		s.waiting[d] = append(s.waiting[d], w)
	}
	return false
}

// AddCatalog adds the layers of an archive, which must stay open, and which borrows from the
// Set from now on. Archives may need each other, in any order.
func (s *Set) AddCatalog(ctx context.Context, name string, c *catalog.Catalog) error {
	c.Complete(s)
	layers, err := c.HeldLayers(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range layers {
		known := &Layer{From: name, Digest: l.Digest, Size: l.Size, DiffID: l.DiffID, Open: l.Open}
		if l.Text {
			known.Digest = ""
		}
		if l.Lacked != nil {
			s.addMade(known, l.Lacked)
			continue
		}
		s.add(known)
	}
	return nil
}

// addMade adds a layer that a delta makes, now or as soon as all is there that it needs.
func (s *Set) addMade(l *Layer, lacked *catalog.Lacked) {
	r := s.recipe(lacked)
	if r.err != nil {
		return // Whoever needs the layer gets to know it.
	}
	l.made = r
	l.Open = func(ctx context.Context) (*catalog.Loan, error) { return s.lendMade(ctx, r) }
	if s.await(l) {
		s.add(l)
	}
}
