package browsing

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/serving"
)

// thing is a result of work.
type thing struct {
	heavy  int64
	closed *atomic.Int64
}

func (t *thing) weight() int64 { return t.heavy }
func (t *thing) close()        { t.closed.Add(1) }

func TestCacheDoesWorkOnce(t *testing.T) {
	c := newCache()
	defer c.close()
	var done, closed atomic.Int64
	begun, proceed := make(chan struct{}), make(chan struct{})
	do := func(context.Context) (result, error) {
		done.Add(1)
		close(begun)
		<-proceed
		return &thing{1, &closed}, nil
	}
	k := key{kind: "x"}
	first, leave := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	waiting.Go(func() {
		_, _, err := c.get(first, k, do)
		assert.ErrorIs(t, err, context.Canceled)
	})
	<-begun
	for range 20 {
		waiting.Go(func() {
			r, release, err := c.get(t.Context(), k, do)
			if assert.NoError(t, err) {
				assert.Zero(t, closed.Load(), "it is used")
				assert.NotNil(t, r)
				release()
			}
		})
	}
	waitFor(c, k, 21)
	leave() // The first to ask goes; the others still wait.
	close(proceed)
	waiting.Wait()
	assert.EqualValues(t, 1, done.Load())
	_, release, err := c.get(t.Context(), k, do)
	require.NoError(t, err, "it is kept")
	release()
	assert.EqualValues(t, 1, done.Load())
}

// waitFor returns when so many wait for work.
func waitFor(c *cache, k key, users int) {
	for {
		c.mu.Lock()
		w := c.works[k]
		ready := w != nil && w.users >= users
		c.mu.Unlock()
		if ready {
			return
		}
		runtime.Gosched()
	}
}

// Work that nobody waits for ends, and the next one to ask begins anew.
func TestCacheEndsWork(t *testing.T) {
	c := newCache()
	defer c.close()
	k := key{kind: "x"}
	ended := make(chan struct{})
	ctx, leave := context.WithCancel(t.Context())
	begun := make(chan struct{})
	go func() {
		<-begun
		leave()
	}()
	_, _, err := c.get(ctx, k, func(ctx context.Context) (result, error) {
		close(begun)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	})
	require.ErrorIs(t, err, context.Canceled)
	<-ended
	_, _, err = c.get(t.Context(), k, func(context.Context) (result, error) { return nil, errors.New("broken") })
	require.EqualError(t, err, "broken")
	var closed atomic.Int64
	_, release, err := c.get(t.Context(), k, func(context.Context) (result, error) { return &thing{1, &closed}, nil })
	require.NoError(t, err, "errors are not kept")
	release()
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache()
	var closed atomic.Int64
	get := func(n int, heavy int64) func() {
		_, release, err := c.get(t.Context(), key{id: strconv.Itoa(n)}, func(context.Context) (result, error) { return &thing{heavy, &closed}, nil })
		require.NoError(t, err)
		return release
	}
	for n := range maxKept + 3 {
		get(n, 1)()
	}
	assert.EqualValues(t, 3, closed.Load())
	release := get(100, maxWeight+1)
	assert.EqualValues(t, maxKept+3, closed.Load(), "what is used has taken all the memory")
	assert.Len(t, c.works, 1, "and is kept while it is used")
	release()
	assert.EqualValues(t, maxKept+4, closed.Load())
	assert.Zero(t, c.total)

	used := get(200, 1)
	c.keepOnly(nil) // This one is of no archive, so it stays.
	assert.Len(t, c.works, 1)
	_, other, err := c.get(t.Context(), key{archives: [2]serving.Served{}, kind: "y"}, func(context.Context) (result, error) { return &thing{1, &closed}, nil })
	require.NoError(t, err)
	c.close()
	before := closed.Load()
	used()
	other()
	assert.Equal(t, before+2, closed.Load(), "what is used is closed when it is released")
}
