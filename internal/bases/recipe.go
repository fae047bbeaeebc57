package bases

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/dockerarchive/dockerarchive/delta"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// recipe is how a layer is made that an archive is without.
type recipe struct {
	lacked *catalog.Lacked
	delta  *delta.Delta
	err    error // why the delta is of no use
	// bases are what the layer is made from, once all of it is there. They do not change then,
	// so that no layer is ever made from itself, in whichever way: each is made from layers
	// that were there before it.
	bases []*Layer
	ready bool
}

// recipe returns how a layer is made that has a delta. The delta's header is read once.
func (s *Set) recipe(l *catalog.Lacked) *recipe {
	r := s.recipes[l]
	if r == nil {
		if s.recipes == nil {
			s.recipes = map[*catalog.Lacked]*recipe{}
		}
		r = &recipe{lacked: l}
		r.delta, r.err = openDelta(l)
		s.recipes[l] = r
	}
	return r
}

// openDelta returns a delta if it is that of the layer.
func openDelta(l *catalog.Lacked) (*delta.Delta, error) {
	d, err := delta.Open(l.Delta, l.Delta.Size())
	if err != nil {
		return nil, damaged(err)
	}
	switch got := image.SHA256(d.Target.Digest); {
	case got != l.Digest:
		return nil, errdef.Errorf(errdef.ErrDamaged, "the delta makes another one, %s", got)
	case l.Size < 0:
		return nil, errdef.Errorf(errdef.ErrDamaged, "no manifest has the layer")
	case d.Target.Size != l.Size:
		return nil, errdef.Errorf(errdef.ErrDamaged, "the delta makes one of %d bytes, but the manifest says %d", d.Target.Size, l.Size)
	}
	return d, nil
}

// resolve finds what a layer is made from. The error is about the first that is missing; it
// wraps fs.ErrNotExist if that is not there in another form either.
func (s *Set) resolve(r *recipe) (missing delta.Blob, err error) {
	if r.ready {
		return missing, nil
	}
	found := make([]*Layer, len(r.delta.Bases))
	for n, b := range r.delta.Bases {
		whole, text := s.byDigest[image.SHA256(b.Digest)], s.byDiffID[image.SHA256(b.TextDigest)]
		if found[n] = whole; whole == nil && !r.delta.NeedsCompressedBases() {
			found[n] = text
		}
		switch {
		case found[n] != nil:
		case text != nil:
			return b, fmt.Errorf("it needs layer %s as it was compressed, and %s has it in another form", image.SHA256(b.Digest), text.From)
		default:
			return b, fmt.Errorf("it needs layer %s: %w", image.SHA256(b.Digest), fs.ErrNotExist)
		}
	}
	r.bases, r.ready = found, true
	return missing, nil
}

// whole returns a layer that need not be made for the archive without it, nil if there is none.
func (s *Set) whole(l *catalog.Lacked) *Layer {
	if known := s.byDigest[l.Digest]; known != nil && known.Size >= 0 && known.Size == l.Size {
		return known
	}
	return nil
}

// ready returns how a layer is made if all is there.
func (s *Set) ready(l *catalog.Lacked) (*recipe, error) {
	if l.Delta == nil {
		return nil, fmt.Errorf("layer %s: %w", l.Digest, fs.ErrNotExist)
	}
	r := s.recipe(l)
	if r.err != nil {
		return nil, r.err
	}
	if _, err := s.resolve(r); err != nil {
		return nil, err
	}
	return r, nil
}

// Lends implements catalog.Lender.
func (s *Set) Lends(l *catalog.Lacked) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.whole(l) != nil {
		return nil
	}
	_, err := s.ready(l)
	return err
}

// damaged makes errors about damage those that callers know.
func damaged(err error) error {
	if errors.Is(err, delta.ErrDamaged) || errors.Is(err, delta.ErrDamagedBase) {
		return errdef.Errorf(errdef.ErrDamaged, "%w", err)
	}
	return err
}
