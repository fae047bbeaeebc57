package files

import (
	"context"
	"io"
	"reflect"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Shared are layers that several trees have, those of images in one archive: each is read once
// for all of them. The zero value is ready for use. It must not be copied, and its methods may
// be called concurrently. All trees that share layers must have the same Options.
type Shared struct {
	mutex  sync.Mutex
	layers map[same]*lazy
}

// same tells that two layers are one: the same bytes of the same file, which should have the
// same digests. Entries know the index of their layer, so that is the same too.
type same struct {
	index          int
	file           io.ReaderAt
	from, size     int64
	digest, diffID digest.Digest
}

// sharing is what several trees know of a layer.
type sharing struct {
	of    *Shared // nil if it is a layer of one tree only
	same  same
	users int // guarded by of.mutex
}

// share returns the layer that trees have there already, or this one.
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

// release reports whether no tree has the layer any more.
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
