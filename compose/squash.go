package compose

import (
	"context"
	"fmt"
	"io"

	"github.com/dockerarchive/dockerarchive/internal/layertar"
	"github.com/dockerarchive/dockerarchive/internal/squash"
)

// squashed is the content of the one layer of a squashed image.
type squashed struct{ merged *squash.Merged }

// Name implements Content.
func (squashed) Name() string { return "of all files" }

// Open implements Content.
func (s squashed) Open(ctx context.Context) (io.ReadCloser, error) {
	return piped(ctx, s.merged.Write), nil
}

// squash merges the layers of the base and those upon them.
func (m *maker) squash(ctx context.Context) (Content, error) {
	layers := m.baseLayers(ctx)
	for _, l := range m.image.Layers {
		content := l.Content
		if isOnce(content) {
			content = &kept{Content: content, maker: m}
		}
		layers = append(layers, m.toSquash(ctx, content, l.Expected))
	}
	rewriting := layertar.Rewriting(m.image.SquashRewriting)
	if m.image.RewriteTimes {
		rewriting.SetTime = m.image.Created
	}
	merged, err := squash.Merge(ctx, layers, squash.Options{Rewriting: rewriting})
	if err != nil {
		return nil, fmt.Errorf("squashing: %w", err)
	}
	return squashed{merged}, nil
}

// isOnce reports whether content can be read only once.
func isOnce(content Content) bool {
	switch c := content.(type) {
	case *stream:
		return true
	case *filtered:
		return isOnce(c.Content)
	}
	return false
}
