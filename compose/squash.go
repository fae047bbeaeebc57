package compose

import (
	"context"
	"io"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// squashed is the content of the one layer of a squashed image.
type squashed struct {
	tree      *files.Tree
	rewriting layertar.Rewriting
}

// Name implements Content.
func (squashed) Name() string { return "of all files" }

// Open implements Content.
func (s squashed) Open(ctx context.Context) (io.ReadCloser, error) {
	return piped(ctx, func(ctx context.Context, w io.Writer) error {
		return s.tree.Squash(ctx, w, s.rewriting)
	}), nil
}

// squash returns the base and the layers upon it as one.
func (m *maker) squash() Content {
	rewriting := layertar.Rewriting(m.image.SquashRewriting)
	if m.image.RewriteTimes {
		rewriting.SetTime = m.image.Created
	}
	return squashed{m.files, rewriting}
}

// isOnce reports whether content can be read only once.
func isOnce(content Content) bool {
	switch c := content.(type) {
	case *stream:
		return true
	case *filtered:
		return isOnce(c.Content)
	case verified:
		return isOnce(c.Content)
	}
	return false
}
