package files

import (
	"context"
	"io"
	"reflect"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Shared has the layers that several trees share, for images in one archive: each layer is read once
// for all trees. The zero value is ready for use. It must not be copied, and its methods may be
// called concurrently. All trees that share layers must have the same Options.
type Shared struct {
	mutex  sync.Mutex
	layers map[same]*lazy
}

// same is the key of a shared layer. Two layers are one if they are the same bytes of the same file
// and should have the same digests. Entries know the index of their layer, so the index is part of
// the key.
type same struct {
	index          int
	file           io.ReaderAt
	from, size     int64
	digest, diffID digest.Digest
}

// sharing says how several trees share a layer.
type sharing struct {
	of    *Shared // nil if only one tree has the layer
	same  same
	users int // guarded by of.mutex
}

// share returns the shared layer with the key of l, which becomes that if there is none.
func (s *Shared) share(index int, l *lazy) *lazy {
	if s == nil || l.At == nil {
		return l
	}
	at, _, err := l.At(context.Background())
	section, ok := at.(*io.SectionReader)
	if err != nil || !ok {
		return l
	}
	file, from, size := section.Outer()
	if !reflect.TypeOf(file).Comparable() {
		return l
	}
	key := same{index, file, from, size, l.Digest, l.DiffID}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if old := s.layers[key]; old != nil {
		old.users++
		return old
	}
	if s.layers == nil {
		s.layers = map[same]*lazy{}
	}
	l.sharing = sharing{s, key, 1}
	s.layers[key] = l
	return l
}

// release notes that a tree does not use the layer any more, and reports whether no tree does.
func (l *lazy) release() bool {
	if l.of == nil {
		return true
	}
	l.of.mutex.Lock()
	defer l.of.mutex.Unlock()
	if l.users--; l.users > 0 {
		return false
	}
	delete(l.of.layers, l.same)
	return true
}
