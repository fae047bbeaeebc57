package selecting

import (
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// gathering holds the referrers found for the images of a Selection.
type gathering struct {
	selection *Selection
	found     map[string]*Image // by the digest or the full name

	mu      sync.Mutex // held for what the Selection has opened
	clients map[*types.SystemContext]*registries.Client
}

// client returns the client that asks for referrers of an image.
func (g *gathering) client(img *Image) *registries.Client {
	sys := g.selection.sourceCtx(img)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.clients[sys] == nil {
		g.clients[sys] = registries.New(sys)
	}
	return g.clients[sys]
}

func (g *gathering) close() {
	for _, client := range g.clients {
		client.Close()
	}
}

// question is a question to the repository of an image.
type question struct {
	about   *Image
	subject digest.Digest
}
