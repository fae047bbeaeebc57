package imagecopy

import (
	"sync"

	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/stall"
	"github.com/dockerarchive/dockerarchive/progress"
)

// copier is one call of Once.
type copier struct {
	policy       *signature.PolicyContext
	dest, source types.ImageReference
	noSync       bool
	progress     func(progress.Event)
	ranges       *Ranges
	ranged       *rangedSource // that is read; nil if there is none
	watch        *stall.Watch  // nil if no registry is involved
	final        bool          // written bytes cannot be taken back

	mu    sync.Mutex
	aside int // what goes on meanwhile and sees to itself
}

// waiting tells the caller of a registry that sends nothing.
func (c *copier) waiting(host string) {
	c.progress(progress.Event{Kind: progress.Waiting, Host: host})
}

// rest says that a registry is not waited for.
func (c *copier) rest() {
	if c.watch != nil {
		c.watch.Rest()
	}
}

// meanwhile says that a blob is being written or opened, until done is called. The first may wait for a disk or for
// whoever reads a pipe, and the second is watched by itself. If nothing of that goes on, copy.Image waits for the
// registry, although that may have answered: it reads the answer.
func (c *copier) meanwhile() (done func()) {
	if c.watch == nil {
		return func() {}
	}
	count := func(n int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.aside += n; c.aside > 0 {
			c.watch.Rest()
		} else {
			c.watch.Moved()
		}
	}
	count(1)
	return func() { count(-1) }
}
