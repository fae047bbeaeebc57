package imagecopy

import (
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
