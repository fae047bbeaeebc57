package saving

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// spooled are blobs in unnamed temporary files. The zero value has none.
type spooled struct {
	dir   string
	files map[digest.Digest]*local.File
	mu    sync.Mutex // for files, while layers are fetched
}

// store keeps a layer.
func (s *spooled) store(ctx context.Context, blob *fetching.Blob, r io.Reader) error {
	f, err := spool.Create(s.dir)
	if err != nil {
		return err
	}
	ahead := async.NewReader(ctx, r) // Ends with the context, even if the source does not.
	defer ahead.Close()
	if _, err := ahead.WriteTo(f); err != nil {
		return errors.Join(fmt.Errorf("reading layer %s: %w", blob.Digest, err), f.Close())
	}
	s.replace("", blob.Digest, f)
	return nil
}

// replace keeps a file as a blob, instead of another one.
func (s *spooled) replace(old, d digest.Digest, f *local.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files == nil {
		s.files = map[digest.Digest]*local.File{}
	}
	delete(s.files, old)
	if other := s.files[d]; other != nil { // Two layers, made by one delta: the same bytes.
		_ = other.Close()
	}
	s.files[d] = f
}

// open returns a blob that is kept in full, or nil.
func (s *spooled) open(d digest.Digest, size int64) io.Reader {
	s.mu.Lock()
	f := s.files[d]
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	has, err := f.Size()
	if err != nil || size >= 0 && has != size {
		return nil
	}
	return io.NewSectionReader(f, 0, has)
}

func (s *spooled) close() {
	for _, f := range s.files {
		_ = f.Close() // It is temporary.
	}
	s.files = nil
}
