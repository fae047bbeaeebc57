// Package bases has the layers that an archive is without: those of other archives and
// stores, and those that deltas make from them. It makes such deltas, too, and finds what
// to make them from. It knows nothing of images.
package bases

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/delta"
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
	pending  []pending
	sketches []*sketch // of layers; nil before they are needed
	made     kept
	turn     chan struct{} // held while a layer is made
}

// pending is an archive whose layers are not all known yet, because it is itself without
// some.
type pending struct {
	name    string
	catalog *catalog.Catalog
}

// Add adds a layer. The first of several with one digest, or one diff ID, counts.
func (s *Set) Add(l Layer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(&l)
}

func (s *Set) add(l *Layer) {
	if s.byDigest == nil {
		s.byDigest, s.byDiffID = map[digest.Digest]*Layer{}, map[digest.Digest]*Layer{}
		s.turn = make(chan struct{}, 1)
	}
	if (l.Digest == "" || s.byDigest[l.Digest] != nil) && (l.DiffID == "" || s.byDiffID[l.DiffID] != nil) {
		return
	}
	s.layers, s.sketches = append(s.layers, l), nil
	if l.Digest != "" && s.byDigest[l.Digest] == nil {
		s.byDigest[l.Digest] = l
	}
	if l.DiffID != "" && s.byDiffID[l.DiffID] == nil {
		s.byDiffID[l.DiffID] = l
	}
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
	s.addHeld(name, layers)
	if len(c.Lacked()) > 0 {
		s.pending = append(s.pending, pending{name, c})
	}
	s.mu.Unlock()
	return s.settle(ctx)
}

func (s *Set) addHeld(name string, layers []catalog.HeldLayer) {
	for _, l := range layers {
		known := &Layer{From: name, Digest: l.Digest, Size: l.Size, DiffID: l.DiffID, Open: l.Open}
		if l.Text {
			known.Digest = ""
		}
		if l.Lacked != nil {
			if l.Lacked.Delta == nil {
				continue // The archive that has it has been added.
			}
			known.Open = func(ctx context.Context) (*catalog.Loan, error) { return s.lendMade(ctx, *l.Lacked) }
		}
		s.add(known)
	}
}

// settle adds what archives without some layers can borrow now. A layer is made only from
// layers that were there before, so that none is ever made from itself.
func (s *Set) settle(ctx context.Context) error {
	for {
		s.mu.Lock()
		before, waiting := len(s.layers), slices.Clone(s.pending)
		s.mu.Unlock()
		for _, p := range waiting {
			layers, err := p.catalog.HeldLayers(ctx)
			if err != nil {
				return err
			}
			s.mu.Lock()
			s.addHeld(p.name, layers)
			s.mu.Unlock()
		}
		s.mu.Lock()
		done := len(s.layers) == before
		s.mu.Unlock()
		if done {
			return nil
		}
	}
}

// Lends implements catalog.Lender.
func (s *Set) Lends(l catalog.Lacked) (size int64, ok bool) {
	s.mu.Lock()
	whole := s.byDigest[l.Digest]
	s.mu.Unlock()
	if whole != nil && whole.Size >= 0 {
		return whole.Size, true
	}
	if l.Delta == nil {
		return 0, false
	}
	d, err := delta.Open(l.Delta, l.Delta.Size())
	if err != nil || image.SHA256(d.Target.Digest) != l.Digest {
		return 0, false
	}
	if _, err := s.basesOf(d); err != nil {
		return 0, false
	}
	return d.Target.Size, true
}

// basesOf returns what a delta needs.
func (s *Set) basesOf(d *delta.Delta) ([]*Layer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make([]*Layer, len(d.Bases))
	for n, b := range d.Bases {
		l := s.byDigest[image.SHA256(b.Digest)]
		if l == nil && !d.NeedsCompressedBases() {
			l = s.byDiffID[image.SHA256(b.TextDigest)]
		}
		switch {
		case l == nil && s.byDiffID[image.SHA256(b.TextDigest)] != nil:
			return nil, fmt.Errorf("it needs layer %s as it was compressed, and %s has it in another form", image.SHA256(b.Digest), s.byDiffID[image.SHA256(b.TextDigest)].From)
		case l == nil:
			return nil, fmt.Errorf("it needs layer %s, which is not there", image.SHA256(b.Digest))
		}
		found[n] = l
	}
	return found, nil
}
