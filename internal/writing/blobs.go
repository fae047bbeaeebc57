package writing

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// storedBlob is a blob in an archive that is being written.
type storedBlob struct {
	digest digest.Digest // under which it is stored: the diff ID of a decompressed layer
	size   int64         // as it is stored, in bytes
	entry  *tarfile.Entry
	// algorithm is how it is compressed as it is stored.
	algorithm compression.Algorithm
	content   content
	old       *io.SectionReader // where it is read, in an archive that is changed; else nil
}

// asLayer returns the known facts about the blob as a layer.
func (b *storedBlob) asLayer() content {
	if b.old != nil {
		return contentOf(b.old, b.algorithm, b.digest.Algorithm(), maxReexamined)
	}
	return b.content
}

// receivedBlob is a blob as a source has it.
type receivedBlob struct {
	stored *storedBlob
	size   int64 // as it was received, in bytes
}

// blobSet knows the blobs of an archive, and which owner is fetching which, so that
// each is fetched once even by images that are copied at the same time.
type blobSet struct {
	adding lock // held while a blob's entry is completed, before mu

	mu       sync.Mutex
	received map[digest.Digest]receivedBlob
	stored   map[digest.Digest]*storedBlob
	claims   map[digest.Digest]*claim
	// late are owners that have not delivered in time. Nobody waits for them again: a
	// copy of an image that lacks many blobs would wait for each of them.
	late map[Owner]bool
	// old finds blobs of an archive that images are added to; not changed. Their
	// entries are nil: they stay where they are.
	old func(digest.Digest) (*storedBlob, bool)
}

// Owner is a token for a deliverer of blobs; it is compared only.
type Owner any

// claim is the promise of an owner to deliver a blob, made by its asking for it in
// vain.
type claim struct {
	owner   Owner
	started bool          // the blob is being written
	settled chan struct{} // closed when it is there, or will not come
}

// claimPatience is how long a claim is honoured by others before the blob
// starts to arrive. It bounds the harm of an owner that asks for a blob and then
// neither delivers nor releases it; the cost is that a blob may be
// fetched twice.
const claimPatience = 3 * time.Second

func newBlobSet() *blobSet {
	return &blobSet{
		adding:   newLock(),
		received: map[digest.Digest]receivedBlob{},
		stored:   map[digest.Digest]*storedBlob{},
		claims:   map[digest.Digest]*claim{},
		late:     map[Owner]bool{},
		old:      func(digest.Digest) (*storedBlob, bool) { return nil, false },
	}
}

// find returns a blob, waiting for it if it is on its way. If there is none, it
// is now the owner's to deliver.
func (s *blobSet) find(ctx context.Context, owner Owner, d digest.Digest) (receivedBlob, bool, error) {
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
func (s *blobSet) begin(ctx context.Context, owner Owner, d digest.Digest) (receivedBlob, bool, error) {
	return s.wait(ctx, d, func(c *claim) bool {
		switch {
		case c == nil:
			s.claims[d] = &claim{owner: owner, started: true, settled: make(chan struct{})}
		case c.started:
			return false
		default: // The blob is here, whoever made the claim.
			c.owner, c.started = owner, true
		}
		return true
	})
}

// wait returns a stored blob, or nothing as soon as take, which is called with
// the blob's claim or nil and the lock held, agrees.
func (s *blobSet) wait(ctx context.Context, d digest.Digest, take func(*claim) bool) (receivedBlob, bool, error) {
	for {
		s.mu.Lock()
		if blob, ok := s.storedLocked(d); ok {
			s.mu.Unlock()
			return blob, true, nil
		}
		c := s.claims[d]
		if c != nil && !c.started && s.late[c.owner] {
			s.settleLocked(d)
			c = nil
		}
		if take(c) {
			s.mu.Unlock()
			return receivedBlob{}, false, nil
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
			return receivedBlob{}, false, context.Cause(ctx)
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

func (s *blobSet) storedLocked(d digest.Digest) (receivedBlob, bool) {
	if blob, ok := s.received[d]; ok {
		return blob, true
	}
	if blob, ok := s.stored[d]; ok { // for example a layer that is wanted uncompressed
		return receivedBlob{stored: blob, size: blob.size}, true
	}
	if blob, ok := s.old(d); ok {
		return receivedBlob{stored: blob, size: blob.size}, true
	}
	return receivedBlob{}, false
}

func (s *blobSet) expire(d digest.Digest, c *claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claims[d] == c && !c.started {
		s.late[c.owner] = true
		s.settleLocked(d)
	}
}

// end settles a claim that begin made, with the blob if it has been stored.
func (s *blobSet) end(d digest.Digest, blob receivedBlob, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok {
		s.received[d] = blob
	}
	s.settleLocked(d)
}

func (s *blobSet) settleLocked(d digest.Digest) {
	if c := s.claims[d]; c != nil {
		delete(s.claims, d)
		close(c.settled)
	}
}

// release gives up the claims of an owner that will not deliver.
func (s *blobSet) release(owner Owner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d, c := range s.claims {
		if c.owner == owner && !c.started {
			s.settleLocked(d)
		}
	}
}

// get returns a blob that has been put.
func (s *blobSet) get(d digest.Digest) (receivedBlob, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.storedLocked(d)
}

// add records a blob, whose entry finish makes. If one is stored under the same digest
// already, such as a layer that came in another compression, it returns that one and
// does not call finish.
func (s *blobSet) add(ctx context.Context, blob storedBlob, finish func() (*tarfile.Entry, error)) (*storedBlob, error) {
	if err := s.adding.acquire(ctx); err != nil { // It may be held for a pipe that nobody drains.
		return nil, err
	}
	defer s.adding.release()
	s.mu.Lock()
	known := s.stored[blob.digest]
	s.mu.Unlock()
	if known == nil {
		known, _ = s.old(blob.digest)
	}
	if known != nil {
		return known, nil
	}
	entry, err := finish()
	if err != nil {
		return nil, err
	}
	blob.entry = entry
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored[blob.digest] = &blob
	return &blob, nil
}

// Has reports whether the archive has a blob that would be received under a digest.
func (a *Archive) Has(d digest.Digest) bool {
	_, ok := a.blobs.get(d)
	return ok
}

// Assume says that a blob to be received under a digest, with that size, is the same
// as one that is stored under another: a layer whose diff ID a config tells. It
// reports whether the archive has it.
func (a *Archive) Assume(d digest.Digest, size int64, stored digest.Digest) bool {
	if !a.blobs.assume(d, size, stored) {
		return false
	}
	if slot := a.slots[d]; slot != nil { // Nothing waits for a blob that will not come.
		_ = slot.Release(nil) // A blob being written keeps its place.
	}
	return true
}

func (s *blobSet) assume(d digest.Digest, size int64, stored digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	blob, ok := s.stored[stored]
	if !ok {
		blob, ok = s.old(stored)
	}
	if ok {
		s.received[d] = receivedBlob{stored: blob, size: size}
	}
	return ok
}

// keep records a blob that the file has already, as an entry that is not sealed.
func (s *blobSet) keep(blob storedBlob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored[blob.digest] = &blob
}
