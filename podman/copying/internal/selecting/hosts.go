package selecting

import (
	"context"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
)

// Remembering returns a context with what is learnt of registries, for several Selections.
func Remembering(ctx context.Context) context.Context { return fetching.Remembering(ctx) }

// HostsOf returns what a context remembers of registries, or nil.
func HostsOf(ctx context.Context) *fetching.Hosts { return fetching.HostsOf(ctx) }
