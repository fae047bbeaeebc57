package bases

import (
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
)

// kept is the layers that were made and are used, and those that are kept.
type kept struct {
	mu    sync.Mutex
	files map[digest.Digest]*madeFile
	idle  []*madeFile // the longest unused first
}

// get returns a layer that was made, nil if it is not there.
func (k *kept) get(d digest.Digest) *madeFile {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.files[d]
	if f == nil {
		return nil
	}
	k.idle = slices.DeleteFunc(k.idle, func(other *madeFile) bool { return other == f })
	f.users++
	return f
}

// put adds a layer, and returns it for its first user.
func (k *kept) put(d digest.Digest, f *madeFile) *madeFile {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.files == nil {
		k.files = map[digest.Digest]*madeFile{}
	}
	f.digest, f.users = d, 1
	k.files[d] = f
	return f
}

// returning returns what a user calls, once or more often, when the layer is of no more use.
// At most keep bytes of unused layers stay.
func (k *kept) returning(f *madeFile, keep int64) func() {
	return sync.OnceFunc(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if f.users--; f.users > 0 {
			return
		}
		k.idle = append(k.idle, f)
		k.shrink(keep)
	})
}

// shrink closes what has been unused for longest.
func (k *kept) shrink(keep int64) {
	var sum int64
	for _, f := range k.idle {
		sum += f.size
	}
	for len(k.idle) > 0 && sum > keep {
		f := k.idle[0]
		k.idle, sum = k.idle[1:], sum-f.size
		delete(k.files, f.digest)
		_ = f.file.Close() // It is a temporary file that nobody needs.
	}
}

// Close frees the layers that are kept. None may be in use.
func (s *Set) Close() error {
	s.made.mu.Lock()
	defer s.made.mu.Unlock()
	s.made.shrink(-1)
	return nil
}
