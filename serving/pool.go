package serving

import (
	"container/list"
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dockerarchive/dockerarchive/archive"
)

const (
	// maxOpen is how many files archives are kept open with.
	maxOpen = 512
	// minOpen is how many if the process may open few.
	minOpen = 8
	// spareFiles is how many the process needs for other things.
	spareFiles = 32
)

// openLimit returns how many files archives are kept open with: a quarter of those that the
// process may open, so that the others are there for clients.
func openLimit() int { return max(min(maxFiles()/4, maxOpen), minOpen) }

// connectionLimit returns how many clients there may be at once: each takes one file for the
// connection, and one for the blob that it gets.
func connectionLimit() int {
	return max(min((maxFiles()-openLimit()-spareFiles)/2, maxConnections), minOpen)
}

// ErrReplaced means that there is another file, or none, where an archive was.
var ErrReplaced = errors.New("the archive has been replaced or removed")

// opened is an archive that is served. Its file is open while it is used, and after that as
// long as not too many others are.
type opened struct {
	path    string
	stamp   stamp      // of the file, before it was opened
	images  [][]string // the names of each
	checked verdicts
	listing listing
	changed atomic.Bool // it cannot be read on, because the store had another one meanwhile
	pool    *pool

	views int // that have it; guarded by Server.mu

	// Guarded by pool.mu.
	archive *archiveFile // nil if it is closed
	users   int
	gone    bool
	idle    *list.Element // in pool.idle, if it is open and nobody uses it
	opening chan struct{} // closed when somebody has tried to open it; nil if nobody does
}

// pool is the archives that are open. Its methods may be called concurrently.
type pool struct {
	limit  int
	opener archive.Opener
	stores *stores

	mu   sync.Mutex
	open int        // files
	idle *list.List // of *opened, the one that has not been used for longest first
}

func newPool(limit int, opener archive.Opener, stores *stores) *pool {
	return &pool{limit: limit, opener: opener, stores: stores, idle: list.New()}
}

// add takes in an archive that is open.
func (p *pool) add(o *opened, a *archiveFile) {
	p.mu.Lock()
	o.pool, o.archive, o.users = p, a, 1
	p.open += o.files()
	p.mu.Unlock()
	p.release(o)
}

// files returns how many files an archive is in.
func (o *opened) files() int { return max(strings.Count(o.stamp.parts, "\n"), 1) }

// use returns the archive, open until done is called. The error is ErrReplaced if the archive
// has changed, or that of opening it.
func (o *opened) use(ctx context.Context) (a *archive.Archive, done func(), err error) {
	p := o.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	for o.archive == nil {
		switch {
		case o.gone:
			return nil, nil, ErrReplaced
		case o.opening != nil:
			others := o.opening
			p.mu.Unlock()
			select {
			case <-others:
			case <-ctx.Done():
			}
			p.mu.Lock()
			if ctx.Err() != nil {
				return nil, nil, context.Cause(ctx)
			}
		default:
			if err := p.reopen(ctx, o); err != nil {
				return nil, nil, err
			}
		}
	}
	if o.idle != nil {
		p.idle.Remove(o.idle)
		o.idle = nil
	}
	o.users++
	return o.archive.Archive, sync.OnceFunc(func() { p.release(o) }), nil
}

// reopen opens an archive that was closed. It must be called with p.mu held, which it lets go
// of meanwhile.
func (p *pool) reopen(ctx context.Context, o *opened) error {
	o.opening = make(chan struct{})
	p.mu.Unlock()
	a, err := p.openSame(ctx, o)
	p.mu.Lock()
	close(o.opening)
	o.opening = nil
	if err == nil {
		o.archive = a
		p.open += o.files()
	}
	return err
}

// openSame opens the file of an archive if that is still the same.
func (p *pool) openSame(ctx context.Context, o *opened) (*archiveFile, error) {
	if err := p.stores.unchanged(ctx, o); err != nil {
		return nil, err
	}
	a, err := p.stores.openArchive(ctx, p.opener, o.path)
	if changed := p.stores.unchanged(ctx, o); changed != nil {
		if err == nil {
			_ = a.Close() // It was only opened.
		}
		return nil, changed
	}
	return a, err
}

func (s *stores) unchanged(ctx context.Context, o *opened) error {
	now, err := s.stampOf(ctx, o.path)
	if err != nil && o.elsewhere() && !errors.Is(err, fs.ErrNotExist) {
		return o.explain(err)
	}
	if err != nil || !o.stamp.same(now) {
		return errors.Join(ErrReplaced, err)
	}
	return nil
}

// forget drops what is kept in memory of an archive in a store: it may have been damaged on its way.
func (o *opened) forget() {
	o.pool.mu.Lock()
	defer o.pool.mu.Unlock()
	if o.archive == nil {
		return
	}
	if r, ok := o.archive.remote.(interface{ Forget() }); ok {
		r.Forget()
	}
}

// release ends a use of an archive.
func (p *pool) release(o *opened) {
	p.mu.Lock()
	if o.users--; o.users == 0 {
		o.idle = p.idle.PushBack(o)
	}
	unused := p.unused(o)
	p.mu.Unlock()
	closeArchives(unused)
}

// drop closes an archive as soon as nobody uses it.
func (p *pool) drop(o *opened) {
	p.mu.Lock()
	o.gone = true
	unused := p.unused(o)
	p.mu.Unlock()
	closeArchives(unused)
}

// unused takes out archives that nobody uses: one if it is gone, and the others while too many
// are open. It must be called with p.mu held.
func (p *pool) unused(o *opened) (unused []*archiveFile) {
	if o.gone && o.idle != nil {
		unused = append(unused, p.takeOut(o))
	}
	for p.open > p.limit && p.idle.Len() > 0 {
		unused = append(unused, p.takeOut(p.idle.Front().Value.(*opened)))
	}
	return unused
}

func (p *pool) takeOut(o *opened) *archiveFile {
	p.idle.Remove(o.idle)
	p.open -= o.files()
	a := o.archive
	o.idle, o.archive = nil, nil
	return a
}

func closeArchives(archives []*archiveFile) {
	for _, a := range archives {
		_ = a.Close() // It has only been read.
	}
}
