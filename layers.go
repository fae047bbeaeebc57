package dockerarchive

import (
	"context"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// storedLayer is a layer in an archive that is being written.
type storedLayer struct {
	diffID digest.Digest
	size   int64 // of the uncompressed layer, in bytes
	entry  *tarfile.Entry
}

// storedBlob is a layer as a source has it.
type storedBlob struct {
	layer *storedLayer
	size  int64 // of the blob, which may be compressed, in bytes
}

// layerSet knows the layers of an archive, and who is fetching which, so that
// each blob is fetched once even by images that are copied at the same time.
type layerSet struct {
	adding sync.Mutex // held while a layer's entry is completed, before mu

	mu       sync.Mutex
	blobs    map[digest.Digest]storedBlob
	byDiffID map[digest.Digest]*storedLayer
	claims   map[digest.Digest]*claim
}

// claim is the promise of a destination to deliver a blob, made by its asking
// for it in vain.
type claim struct {
	owner   *imageDestination
	started bool          // the blob is being written
	settled chan struct{} // closed when it is there, or will not come
}

// claimPatience is how long a claim is honoured by others before the blob
// starts to arrive. It bounds the harm of a caller that asks for a blob and then
// neither delivers it nor closes its destination; the cost is that a blob may be
// fetched twice.
const claimPatience = 10 * time.Second

func newLayerSet() *layerSet {
	return &layerSet{
		blobs:    map[digest.Digest]storedBlob{},
		byDiffID: map[digest.Digest]*storedLayer{},
		claims:   map[digest.Digest]*claim{},
	}
}

// find returns a blob, waiting for it if it is on its way. If there is none, it
// is now the owner's to deliver.
func (s *layerSet) find(ctx context.Context, owner *imageDestination, d digest.Digest) (storedBlob, bool, error) {
	return s.wait(ctx, d, func(c *claim) bool {
		if c != nil {
			return false
		}
		s.claims[d] = &claim{owner: owner, settled: make(chan struct{})}
		return true
	})
}

// begin is find for a blob that has arrived: unless it is there by now, or comes
// from elsewhere, the caller must deliver it and then call end.
func (s *layerSet) begin(ctx context.Context, owner *imageDestination, d digest.Digest) (storedBlob, bool, error) {
	return s.wait(ctx, d, func(c *claim) bool {
		switch {
		case c == nil:
			s.claims[d] = &claim{owner: owner, started: true, settled: make(chan struct{})}
		case c.started:
			return false
		default: // Whoever made the claim, the blob is here.
			c.owner, c.started = owner, true
		}
		return true
	})
}

// wait returns a stored blob, or nothing as soon as take, which is called with
// the blob's claim or nil and the lock held, agrees.
func (s *layerSet) wait(ctx context.Context, d digest.Digest, take func(*claim) bool) (storedBlob, bool, error) {
	for {
		s.mu.Lock()
		if blob, ok := s.storedLocked(d); ok {
			s.mu.Unlock()
			return blob, true, nil
		}
		c := s.claims[d]
		if take(c) {
			s.mu.Unlock()
			return storedBlob{}, false, nil
		}
		var patience <-chan time.Time
		var timer *time.Timer
		if !c.started {
			timer = time.NewTimer(claimPatience)
			patience = timer.C
		}
		s.mu.Unlock()
		select {
		case <-c.settled:
		case <-patience:
			s.expire(d, c)
		case <-ctx.Done():
			return storedBlob{}, false, context.Cause(ctx)
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

func (s *layerSet) storedLocked(d digest.Digest) (storedBlob, bool) {
	if blob, ok := s.blobs[d]; ok {
		return blob, true
	}
	if layer, ok := s.byDiffID[d]; ok { // wanted uncompressed
		return storedBlob{layer: layer, size: layer.size}, true
	}
	return storedBlob{}, false
}

func (s *layerSet) expire(d digest.Digest, c *claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claims[d] == c && !c.started {
		s.settleLocked(d)
	}
}

// end settles a claim that begin made, with the blob if it has been stored.
func (s *layerSet) end(d digest.Digest, blob storedBlob, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok {
		s.blobs[d] = blob
	}
	s.settleLocked(d)
}

func (s *layerSet) settleLocked(d digest.Digest) {
	if c := s.claims[d]; c != nil {
		delete(s.claims, d)
		close(c.settled)
	}
}

// release gives up the claims of a destination that is closed.
func (s *layerSet) release(owner *imageDestination) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d, c := range s.claims {
		if c.owner == owner && !c.started {
			s.settleLocked(d)
		}
	}
}

// byDigest returns the layer that a blob became.
func (s *layerSet) byDigest(d digest.Digest) *storedLayer {
	s.mu.Lock()
	defer s.mu.Unlock()
	blob, _ := s.storedLocked(d)
	return blob.layer
}

// withDiffID returns the layer with the given diff ID, which may have arrived in
// another compression.
func (s *layerSet) withDiffID(d digest.Digest) *storedLayer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byDiffID[d]
}

// add records a layer, whose entry finish makes. If there is a layer with that
// diff ID already, it returns that one and does not call finish.
func (s *layerSet) add(layer storedLayer, finish func() (*tarfile.Entry, error)) (*storedLayer, error) {
	s.adding.Lock()
	defer s.adding.Unlock()
	if known := s.withDiffID(layer.diffID); known != nil {
		return known, nil
	}
	entry, err := finish()
	if err != nil {
		return nil, err
	}
	layer.entry = entry
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byDiffID[layer.diffID] = &layer
	return &layer, nil
}
