package bases

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/delta"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// Lend implements catalog.Lender. A layer that is made is in a temporary file, and
// verified, before anybody gets a byte of it. One is made at a time, so that the memory is
// needed once.
func (s *Set) Lend(ctx context.Context, l *catalog.Lacked) (*catalog.Loan, error) {
	s.mu.Lock()
	if whole := s.whole(l); whole != nil {
		s.mu.Unlock()
		return whole.Open(ctx)
	}
	r, err := s.ready(l)
	s.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("making layer %s: %w", l.Digest, err)
	}
	return s.lendMade(ctx, r)
}

// lendMade is Lend for a layer that has to be made.
func (s *Set) lendMade(ctx context.Context, r *recipe) (*catalog.Loan, error) {
	if whole, ok := ctx.Value(making{}).(*session); ok {
		return s.lendFor(ctx, whole, r)
	}
	if f := s.made.get(r.lacked.Digest); f != nil {
		return s.loan(f), nil
	}
	if err := s.turn.take(ctx); err != nil {
		return nil, err
	}
	defer s.turn.end()
	whole := newSession(r)
	defer whole.end()
	return s.lendOnce(context.WithValue(ctx, making{}, whole), r)
}

// lendFor is lendMade for a layer that another one is made from.
func (s *Set) lendFor(ctx context.Context, whole *session, r *recipe) (*catalog.Loan, error) {
	loan, err := s.lendOnce(ctx, r)
	if err != nil {
		return nil, err
	}
	whole.left[r]--
	switch held := whole.held[r]; {
	case whole.left[r] > 0 && held == nil:
		whole.held[r] = s.loan(s.made.get(r.lacked.Digest))
	case whole.left[r] <= 0 && held != nil:
		held.Return()
		delete(whole.held, r)
	}
	return loan, nil
}

// lendOnce makes a layer that is not there yet.
func (s *Set) lendOnce(ctx context.Context, r *recipe) (*catalog.Loan, error) {
	d := r.lacked.Digest
	if f := s.made.get(d); f != nil {
		return s.loan(f), nil
	}
	f, err := s.make(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("making layer %s: %w", d, err)
	}
	return s.loan(s.made.put(d, f)), nil
}

// turn is held by who makes a layer. The zero value is free.
type turn struct {
	once sync.Once
	held chan struct{}
}

func (t *turn) take(ctx context.Context) error {
	t.once.Do(func() { t.held = make(chan struct{}, 1) })
	select {
	case t.held <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *turn) end() { <-t.held }

// making is the key of a session in the context of making a layer.
type making struct{}

// session is the making of a layer and of those that it is made from. Each of them is made
// once, and kept until nothing needs it any more.
type session struct {
	left map[*recipe]int           // how often each is still needed
	held map[*recipe]*catalog.Loan // those that are needed again
}

func newSession(r *recipe) *session {
	n := &session{left: map[*recipe]int{}, held: map[*recipe]*catalog.Loan{}}
	n.count(r)
	return n
}

func (n *session) count(r *recipe) {
	for _, b := range r.bases {
		if b.made == nil {
			continue
		}
		if n.left[b.made]++; n.left[b.made] == 1 {
			n.count(b.made)
		}
	}
}

func (n *session) end() {
	for _, loan := range n.held {
		loan.Return()
	}
}

// make makes a layer, which has its digest.
func (s *Set) make(ctx context.Context, r *recipe) (*madeFile, error) {
	opened, release, err := openAll(ctx, r.bases)
	if err != nil {
		return nil, err
	}
	defer release()
	f, err := spool.Create(spool.Dir(s.TempDir))
	if err != nil {
		return nil, err
	}
	err = r.delta.Apply(ctx, f, opened, &delta.ApplyOptions{TempDir: s.TempDir})
	if err != nil {
		if errors.Is(err, delta.ErrWrongBase) || errors.Is(err, delta.ErrDamagedBase) || errors.Is(err, delta.ErrLargeBase) {
			err = fmt.Errorf("from layers of %s: %w", names(r.bases), err)
		}
		return nil, errors.Join(damaged(err), f.Close())
	}
	return &madeFile{file: f, size: r.delta.Target.Size}, nil
}

// openAll opens layers. release is to be called if there is no error.
func openAll(ctx context.Context, layers []*Layer) (opened []delta.Source, release func(), err error) {
	var loans []*catalog.Loan
	release = func() {
		for _, l := range loans {
			l.Return()
		}
	}
	for _, l := range layers {
		loan, err := l.Open(ctx)
		if err != nil {
			release()
			return nil, nil, fmt.Errorf("reading layer %s of %s: %w", l.name(), l.From, err)
		}
		loans, opened = append(loans, loan), append(opened, loan)
	}
	return opened, release, nil
}

func (l *Layer) name() digest.Digest {
	if l.Digest == "" {
		return l.DiffID
	}
	return l.Digest
}

// names returns where layers are from, each name once.
func names(layers []*Layer) string {
	var all []string
	for _, l := range layers {
		if !slices.Contains(all, l.From) {
			all = append(all, l.From)
		}
	}
	return strings.Join(all, ", ")
}

// loan lends a file that was made.
func (s *Set) loan(f *madeFile) *catalog.Loan {
	return &catalog.Loan{SectionReader: io.NewSectionReader(f.file, 0, f.size), Return: s.made.returning(f, s.Keep)}
}

// madeFile is a layer that was made.
type madeFile struct {
	digest digest.Digest
	file   *local.File
	size   int64
	users  int
}
