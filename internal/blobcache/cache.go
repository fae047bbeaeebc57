// Package blobcache keeps blobs in a directory, so that they are fetched from far away once. It knows blobs by
// their digests, and nothing of where they come from.
//
// A blob is fetched once for all that ask for it at the same time: they read it while it comes. It stays only if
// it has its digest; the last byte is not given out before. Blobs of earlier runs are verified before they are
// read again, so a process may be killed at any time. When a blob needs room, the blobs that nobody has used for
// longest go, except those that are being read.
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
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

var (
	// ErrNoRoom means that a blob cannot be kept: it is larger than the cache, or the others are all being read.
	ErrNoRoom = errors.New("the cache has no room")
	// ErrDisk means that the directory failed, and not what the blob comes from.
	ErrDisk = errors.New("the directory of the cache fails")
	// ErrWrong means that what was fetched does not have its digest.
	ErrWrong = errors.New("the content does not match the digest")
	// ErrInUse means that another process has the directory.
	ErrInUse = errors.New("another process uses this cache")
)

// Cache keeps blobs. Its methods may be called concurrently.
type Cache struct {
	dir   string
	limit int64
	lock  *os.File
	ctx   context.Context // of all that is fetched
	end   context.CancelFunc
	work  sync.WaitGroup
	close func() error

	mu      sync.Mutex
	stats   Stats
	entries map[digest.Digest]*entry
	idle    *list.List // of complete *entry that nobody reads, the one that has not been read for longest first
}

// Stats are counts since the Cache was opened, but for the sizes.
type Stats struct {
	Hits      int64 // blobs that were there
	Shared    int64 // blobs that were on their way for somebody else
	Misses    int64 // blobs that were fetched
	Refused   int64 // blobs that had no room
	Wrong     int64 // blobs that did not have their digest
	Evictions int64
	Blobs     int64 // that are there or on their way
	Bytes     int64 // of these; as much as is reserved for them
	Limit     int64 // for Bytes
}

// entry is a blob that is there, or on its way. All is guarded by Cache.mu.
type entry struct {
	digest  digest.Digest
	size    int64
	state   state
	written int64    // while it is on its way
	file    *os.File // while it is on its way, and until nobody reads it any more
	err     error    // why it is lost
	users   int
	idle    *list.Element
	touched time.Time
	changed chan struct{} // closed when there is something new; nil if nobody waits
}

type state int

const (
	coming   state = iota // it is being fetched
	found                 // of an earlier run, not verified
	checking              // being verified
	ready
	lost // it failed
)

// Open returns the cache in a directory, which is created if it is not there, and locked. It keeps at most limit
// bytes there. The caller must close it.
func Open(dir string, limit int64) (*Cache, error) {
	c := &Cache{dir: dir, limit: limit, stats: Stats{Limit: limit}, entries: map[digest.Digest]*entry{}, idle: list.New()}
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

// Close ends what is being fetched. Blobs that are being read may be read on. It may be called more than once.
func (c *Cache) Close() error { return c.close() }

func (c *Cache) shut() error {
	c.mu.Lock() // Nothing begins after that.
	c.end()
	c.mu.Unlock()
	c.work.Wait()
	return c.lock.Close()
}

// Stats returns what has happened.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Blobs = int64(len(c.entries))
	return s
}

// Get returns a blob that is there or on its way, nil if it is neither. A blob of an earlier run is verified
// first. The caller must close it.
func (c *Cache) Get(ctx context.Context, d digest.Digest) (*Blob, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[d]
	if e == nil || c.ctx.Err() != nil {
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
			err = nil // It may be somewhere else.
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

// Fetch has a blob come, unless it does already, and returns it when it has begun to come. open is called with a
// context that does not end with ctx: others may want the blob, too. The caller must close the blob.
func (c *Cache) Fetch(ctx context.Context, d digest.Digest, size int64, open func(context.Context) (io.ReadCloser, error)) (*Blob, error) {
	for {
		b, err := c.Get(ctx, d)
		if b != nil || err != nil {
			return b, err
		}
		c.mu.Lock()
		if c.entries[d] != nil && c.ctx.Err() == nil {
			c.mu.Unlock()
			continue // Somebody else was faster.
		}
		e, err := c.begin(d, size)
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

// begun returns a blob when its first byte has come. It must be called with c.mu held, as must be the methods that
// follow.
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
func (c *Cache) begin(d digest.Digest, size int64) (*entry, error) {
	if c.ctx.Err() != nil || size < 0 || !c.makeRoom(size) {
		c.stats.Refused++
		return nil, ErrNoRoom
	}
	e := &entry{digest: d, size: size, users: 1}
	f, err := os.OpenFile(c.partial(d), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDisk, err)
	}
	e.file = f
	c.entries[d] = e
	c.stats.Bytes += size
	return e, nil
}

// makeRoom removes blobs until there is room for so many bytes. It reports whether there is.
func (c *Cache) makeRoom(size int64) bool {
	if size > c.limit {
		return false
	}
	for c.stats.Bytes > c.limit-size {
		first := c.idle.Front()
		if first == nil {
			return false
		}
		c.evict(first.Value.(*entry))
	}
	return true
}

// evict removes a blob that nobody reads.
func (c *Cache) evict(e *entry) {
	c.stats.Evictions++
	c.remove(e)
}

// remove removes a complete blob that nobody reads.
func (c *Cache) remove(e *entry) {
	c.idle.Remove(e.idle)
	e.idle = nil
	delete(c.entries, e.digest)
	c.stats.Bytes -= e.size
	if err := os.Remove(c.path(e.digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.stats.Bytes += e.size // It takes its room on, until the next run finds it.
	}
}

// join counts a reader.
func (c *Cache) join(e *entry) {
	if e.users++; e.idle != nil {
		c.idle.Remove(e.idle)
		e.idle = nil
	}
}

// leave is for a reader that ends.
func (c *Cache) leave(e *entry) {
	if e.users--; e.users > 0 {
		return
	}
	if e.file != nil && e.state != coming {
		_ = e.file.Close() // It has been written, or is lost.
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

// touchInterval is how often a use of a blob is written to disk.
const touchInterval = time.Minute

// settle has a blob that nobody reads wait for its next use.
func (c *Cache) settle(e *entry) {
	if e.users == 0 {
		e.users++
		c.leave(e)
	}
}

// wait waits until there is something new, without c.mu.
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

// tell wakes who waits.
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
