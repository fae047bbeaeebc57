package browsing

import (
	"container/list"
	"context"
	"sync"

	"github.com/dockerarchive/dockerarchive/serving"
)

const (
	// maxKept and maxWeight bound the results that are kept unused: how many, and about how
	// many bytes of memory.
	maxKept   = 8
	maxWeight = 128 << 20
	// together is how many images are read at a time, with up to four layers each.
	together = 2
)

// result is a result of work that is kept.
type result interface {
	weight() int64 // about how many bytes of memory it takes
	close()
}

// cache does work once for all who wait for it, and keeps the result. The work ends when
// nobody waits any more.
type cache struct {
	slots chan struct{}

	mu     sync.Mutex
	works  map[key]*work
	idle   *list.List // of *work that is done and not used, the one unused for longest first
	total  int64      // weight of finished work
	closed bool
}

// key identifies work: on an image of an archive, and perhaps on that of another.
type key struct {
	kind     string
	id       string
	archives [2]serving.Served
}

type work struct {
	key    key
	cancel context.CancelFunc
	ended  chan struct{} // closed when there is a result or an error
	result result
	err    error

	users  int           // guarded by cache.mu
	gone   bool          // it is not to be found any more
	unused *list.Element // in cache.idle
}

func newCache() *cache {
	return &cache{slots: make(chan struct{}, together), works: map[key]*work{}, idle: list.New()}
}

// get returns the result of work, done now or before, to be used until release is called. An
// error is not kept. The context of do ends when nobody waits for it.
func (c *cache) get(ctx context.Context, k key, do func(context.Context) (result, error)) (r result, release func(), err error) {
	c.mu.Lock()
	w := c.works[k]
	switch {
	case c.closed:
		c.mu.Unlock()
		return nil, nil, context.Canceled
	case w == nil:
		var working context.Context
		w = &work{key: k, ended: make(chan struct{})}
		working, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
		c.works[k] = w
		go c.do(working, w, do)
	case w.unused != nil:
		c.idle.Remove(w.unused)
		w.unused = nil
	}
	w.users++
	c.mu.Unlock()
	release = sync.OnceFunc(func() { c.release(w) })
	select {
	case <-w.ended:
	case <-ctx.Done():
		release()
		return nil, nil, context.Cause(ctx)
	}
	if w.err != nil {
		release()
		return nil, nil, w.err
	}
	return w.result, release, nil
}

func (c *cache) do(ctx context.Context, w *work, do func(context.Context) (result, error)) {
	r, err := do(ctx)
	c.mu.Lock()
	w.result, w.err = r, err
	if err != nil {
		c.forget(w)
	} else {
		c.total += r.weight()
	}
	close(w.ended)
	unused := c.tidy(w)
	c.mu.Unlock()
	w.cancel()
	closeAll(unused)
}

// slot waits until the work may read layers. free must be called then.
func (c *cache) slot(ctx context.Context) (free func(), err error) {
	select {
	case c.slots <- struct{}{}:
		return func() { <-c.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// release ends a use.
func (c *cache) release(w *work) {
	c.mu.Lock()
	w.users--
	unused := c.tidy(w)
	c.mu.Unlock()
	closeAll(unused)
}

// tidy moves work that is done or has fewer users to its place, and returns the results to
// close. It must be called with c.mu held.
func (c *cache) tidy(w *work) (unused []result) {
	select {
	case <-w.ended:
	default:
		if w.users == 0 {
			c.forget(w)
			w.cancel()
		}
		return nil
	}
	if w.users == 0 && w.unused == nil && w.err == nil && w.result != nil {
		if w.gone {
			unused = append(unused, c.take(w))
		} else {
			w.unused = c.idle.PushBack(w)
		}
	}
	for c.idle.Len() > 0 && (c.idle.Len() > maxKept || c.total > maxWeight) {
		unused = append(unused, c.take(c.idle.Front().Value.(*work)))
	}
	return unused
}

// take returns the result of unused work, and forgets it.
func (c *cache) take(w *work) result {
	if w.unused != nil {
		c.idle.Remove(w.unused)
		w.unused = nil
	}
	c.forget(w)
	r := w.result
	w.result = nil
	c.total -= r.weight()
	return r
}

func (c *cache) forget(w *work) {
	w.gone = true
	if c.works[w.key] == w {
		delete(c.works, w.key)
	}
}

// keepOnly drops results of archives that are gone.
func (c *cache) keepOnly(archives []serving.Served) {
	c.mu.Lock()
	if len(c.works) == 0 {
		c.mu.Unlock()
		return
	}
	here := map[serving.Served]bool{{}: true}
	for _, a := range archives {
		here[a] = true
	}
	var unused []result
	for k, w := range c.works {
		if here[k.archives[0]] && here[k.archives[1]] {
			continue
		}
		c.forget(w)
		if w.unused != nil {
			unused = append(unused, c.take(w))
		}
	}
	c.mu.Unlock()
	closeAll(unused)
}

// close drops everything; results in use, when they are released.
func (c *cache) close() {
	c.mu.Lock()
	c.closed = true
	var unused []result
	for _, w := range c.works {
		c.forget(w)
		w.cancel()
		if w.unused != nil {
			unused = append(unused, c.take(w))
		}
	}
	c.mu.Unlock()
	closeAll(unused)
}

func closeAll(results []result) {
	for _, r := range results {
		r.close()
	}
}
