package serving

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/archive"
)

const (
	// maxKept is how many bytes of manifests are kept in memory.
	maxKept = 2 << 20
	// maxKeptOne is how many of one: larger ones are read when they are asked for.
	maxKeptOne = 64 << 10
)

// documents are manifests that have been read and verified, as many as may be kept.
type documents struct {
	mu   sync.Mutex
	all  map[documentKey]*archive.Manifest
	size int
}

type documentKey struct {
	image  *image
	digest digest.Digest // "" for the image's own manifest or index
}

// get returns a manifest that is kept, or else reads it.
func (k *documents) get(ctx context.Context, img *image, d digest.Digest) (*archive.Manifest, error) {
	key := documentKey{img, d}
	k.mu.Lock()
	m := k.all[key]
	k.mu.Unlock()
	if m != nil {
		return m, nil
	}
	m, err := img.find(ctx, d)
	if err == nil && len(m.Data) <= maxKeptOne {
		k.keep(key, m)
	}
	return m, err
}

// keep forgets all others if there are too many: those that are asked for come again.
func (k *documents) keep(key documentKey, m *archive.Manifest) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.size += len(m.Data); k.all == nil || k.size > maxKept {
		k.all, k.size = map[documentKey]*archive.Manifest{}, len(m.Data)
	}
	k.all[key] = m
}
