package dockerarchive

import (
	"context"
	"fmt"

	"github.com/dockerarchive/dockerarchive/internal/loadable"
)

// Loadable returns, for packages of this module that check signatures, every image that any
// client loads from the archive. The error is for a table of contents that cannot be read, and
// that of ctx.
func (r *Reader) Loadable(ctx context.Context) (*loadable.Archive, error) {
	a, err := loadable.Open(ctx, r.index)
	if err != nil {
		return nil, fmt.Errorf("%s: reading %s: %w", r.transport.name, r.path, err)
	}
	return a, nil
}
