// Package blobcache keeps blobs in a directory, so that each is fetched from a remote source once. It knows blobs by
// their digests, and does not know their sources.
//
// All readers that want a blob at the same time, and would fetch it from the same origin, share one fetch: they read
// the blob while it arrives. Readers of other origins do not, for nobody knows yet whether that origin has the right
// content. A blob stays only if its digest is right; no reader gets the last byte before that is known. Blobs of
// earlier runs are verified before they are read again, so a process may be killed at any time. A new blob evicts the
// least recently used blobs, except those that are being read.
package blobcache

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

var (
	// ErrNoRoom means that a blob cannot be kept: it is larger than the cache, all other blobs are being read, or too
	// many are arriving.
	ErrNoRoom = errors.New("the cache has no room")
	// ErrOther means that a blob is arriving from another origin.
	ErrOther = errors.New("the blob comes from elsewhere")
	// ErrDisk means that the directory failed, not the source of the blob.
	ErrDisk = errors.New("the directory of the cache fails")
	// ErrWrong means that the fetched content does not match its digest.
	ErrWrong = errors.New("the content does not match the digest")
	// ErrInUse means that another process has locked the directory.
	ErrInUse = errors.New("another process uses this cache")
)

const (
	// maxComing is how many blobs come at the same time: they go on when their readers have left, and each takes
	// two files.
	maxComing = 128
	// A file takes more than its bytes. There may be as many blobs as if all had this size, and fewBlobs at least.
	usualSize = 64 << 10
	fewBlobs  = 1024
)

// Cache keeps blobs. Its methods may be called concurrently.
type Cache struct {
	dir   string
	limit int64
	most  int // blobs
	lock  *os.File
	ctx   context.Context // of all fetches
	end   context.CancelFunc
	work  sync.WaitGroup
	close func() error

	mu      sync.Mutex
	stats   Stats
	entries map[digest.Digest]*entry
	coming  int        // of them
	idle    *list.List // of complete *entry without readers, the least recently used first
}

// Stats are counts since the Cache was opened, except Blobs, Bytes and Limit.
type Stats struct {
	Hits      int64 // blobs that were in the cache
	Shared    int64 // blobs that were arriving for another reader
	Misses    int64 // blobs that were fetched
	Refused   int64 // blobs that had no room
	Wrong     int64 // blobs that did not match their digest
	Evictions int64
	Blobs     int64 // complete or arriving now
	Bytes     int64 // reserved for these
	Limit     int64 // for Bytes
}

// entry is a blob that is complete or arriving. Cache.mu guards all fields.
type entry struct {
	digest  digest.Digest
	size    int64
	state   state
	origin  any      // while it arrives
	written int64    // bytes that have arrived
	file    *os.File // while it arrives, and until its last reader leaves
	err     error    // why it is lost
	users   int
	idle    *list.Element
	touched time.Time
	changed chan struct{} // closed at the next change; nil if nobody waits
}

type state int

const (
	coming   state = iota // it is being fetched
	found                 // of an earlier run, not verified
	checking              // being verified
	ready
	lost // it failed
)

// Open opens the cache in a directory. It creates the directory if need be, locks it, and keeps at most limit bytes
// in it. The caller must close the cache.
func Open(dir string, limit int64) (*Cache, error) {
	c := &Cache{dir: dir, limit: limit, most: int(max(limit/usualSize, fewBlobs)), stats: Stats{Limit: limit}, entries: map[digest.Digest]*entry{}, idle: list.New()}
	var err error
	if c.lock, err = lockDir(dir); err == nil {
		if err = c.scan(); err != nil {
			err = errors.Join(err, c.lock.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the cache %s: %w", dir, err)
	}
	c.ctx, c.end = context.WithCancel(context.Background())
	c.close = sync.OnceValue(c.shut)
	return c, nil
}

// Close ends all fetches. Complete blobs that are being read may be read on. It may be called more than once.
func (c *Cache) Close() error { return c.close() }

func (c *Cache) shut() error {
	c.mu.Lock() // No fetch begins after that.
	c.end()
	c.mu.Unlock()
	c.work.Wait()
	return c.lock.Close()
}

// Stats returns the current counts.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Blobs = int64(len(c.entries))
	return s
}

// Get returns a blob that is complete, or arriving from one of the origins, else nil. It first verifies a blob of an
// earlier run. The caller must close the blob.
func (c *Cache) Get(ctx context.Context, d digest.Digest, origins ...any) (*Blob, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[d]
	if e == nil || c.ctx.Err() != nil || e.state == coming && !slices.Contains(origins, e.origin) {
		return nil, nil
	}
	c.join(e)
	if e.state == found {
		e.state = checking
		c.work.Go(func() { c.check(e) })
	}
	for e.state == checking || e.state == coming && e.written == 0 {
		if err := c.wait(ctx, e); err != nil {
			c.leave(e)
			return nil, err
		}
	}
	if e.state == lost {
		err := e.err
		c.leave(e)
		if errors.Is(err, ErrDisk) {
			err = nil // The source may have it.
		}
		return nil, err
	}
	b, err := c.blob(ctx, e)
	if b != nil && b.File() != nil {
		c.stats.Hits++
	} else if b != nil {
		c.stats.Shared++
	}
	return b, err
}

// Fetch begins to fetch a blob from an origin, a value that can be compared, unless it is complete or arriving from
// there, and returns it when its first bytes have arrived. It calls open with a context that does not end with ctx:
// others may want the blob, too. The caller must close the blob. An error is about this origin, or about the cache.
func (c *Cache) Fetch(ctx context.Context, d digest.Digest, size int64, origin any, open func(context.Context) (io.ReadCloser, error)) (*Blob, error) {
	for {
		b, err := c.Get(ctx, d, origin)
		if b != nil || err != nil {
			return b, err
		}
		c.mu.Lock()
		if e := c.entries[d]; e != nil && c.ctx.Err() == nil {
			other := e.state == coming && e.origin != origin
			c.mu.Unlock()
			if other {
				return nil, ErrOther
			}
			continue // Another caller was faster.
		}
		e, err := c.begin(d, size, origin)
		if err != nil {
			c.mu.Unlock()
			return nil, err
		}
		c.stats.Misses++
		c.work.Go(func() { c.fetch(e, open) })
		b, err = c.begun(ctx, e)
		c.mu.Unlock()
		return b, err
	}
}

// begun returns a blob when its first byte has arrived. It must be called with c.mu held, like the methods below.
func (c *Cache) begun(ctx context.Context, e *entry) (*Blob, error) {
	for e.state == coming && e.written == 0 {
		if err := c.wait(ctx, e); err != nil {
			c.leave(e)
			return nil, err
		}
	}
	if e.state == lost {
		c.leave(e)
		return nil, e.err
	}
	return c.blob(ctx, e)
}

// begin makes room for a blob. The caller is its first reader.
func (c *Cache) begin(d digest.Digest, size int64, origin any) (*entry, error) {
	if c.ctx.Err() != nil || size < 0 || c.coming == maxComing || !c.makeRoom(size) {
		c.stats.Refused++
		return nil, ErrNoRoom
	}
	e := &entry{digest: d, size: size, origin: origin, users: 1}
	f, err := os.OpenFile(c.partial(d), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDisk, err)
	}
	e.file = f
	c.entries[d] = e
	c.coming++
	c.stats.Bytes += size
	return e, nil
}

// makeRoom evicts blobs until there is room for so many bytes. It reports whether that succeeded.
func (c *Cache) makeRoom(size int64) bool {
	if size > c.limit {
		return false
	}
	for c.stats.Bytes > c.limit-size || len(c.entries) >= c.most {
		first := c.idle.Front()
		if first == nil {
			return false
		}
		c.evict(first.Value.(*entry))
	}
	return true
}

// evict removes a blob without readers to make room.
func (c *Cache) evict(e *entry) {
	c.stats.Evictions++
	c.remove(e)
}

// remove removes a complete blob without readers.
func (c *Cache) remove(e *entry) {
	c.idle.Remove(e.idle)
	e.idle = nil
	delete(c.entries, e.digest)
	c.stats.Bytes -= e.size
	if err := os.Remove(c.path(e.digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.stats.Bytes += e.size // The file keeps its room until the next run finds it.
	}
}

// join counts a new reader.
func (c *Cache) join(e *entry) {
	if e.users++; e.idle != nil {
		c.idle.Remove(e.idle)
		e.idle = nil
	}
}

// leave counts a reader that ends.
func (c *Cache) leave(e *entry) {
	if e.users--; e.users > 0 {
		return
	}
	if e.file != nil && e.state != coming {
		_ = e.file.Close() // It is complete or lost.
		e.file = nil
	}
	switch e.state {
	case ready, found:
		e.idle = c.idle.PushBack(e)
		if now := time.Now(); now.Sub(e.touched) > touchInterval {
			e.touched = now
			_ = os.Chtimes(c.path(e.digest), now, now) // Only the order after a restart depends on it.
		}
	case lost:
		c.stats.Bytes -= e.size // Its file is gone with the last reader.
	}
}

// touchInterval is how often, at most, a use of a blob is written to disk.
const touchInterval = time.Minute

// settle puts a blob without readers among the idle ones, or forgets it if it is lost.
func (c *Cache) settle(e *entry) {
	if e.users == 0 {
		e.users++
		c.leave(e)
	}
}

// wait waits for the next change of an entry. It releases c.mu meanwhile.
func (c *Cache) wait(ctx context.Context, e *entry) error {
	if e.changed == nil {
		e.changed = make(chan struct{})
	}
	changed := e.changed
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tell wakes all who wait.
func (e *entry) tell() {
	if e.changed != nil {
		close(e.changed)
		e.changed = nil
	}
}

func (c *Cache) path(d digest.Digest) string {
	return filepath.Join(c.dir, d.Algorithm().String()+"-"+d.Encoded())
}

func (c *Cache) partial(d digest.Digest) string { return c.path(d) + partialSuffix }
