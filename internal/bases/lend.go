package bases

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/delta"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// Lend implements catalog.Lender. A layer that is made is in a temporary file, and
// verified, before anybody gets a byte of it. One is made at a time, so that the memory is
// needed once.
func (s *Set) Lend(ctx context.Context, l catalog.Lacked) (*catalog.Loan, error) {
	s.mu.Lock()
	whole := s.byDigest[l.Digest]
	s.mu.Unlock()
	if whole != nil && whole.Size >= 0 {
		return whole.Open(ctx)
	}
	return s.lendMade(ctx, l)
}

// lendMade is Lend for a layer that has to be made.
func (s *Set) lendMade(ctx context.Context, l catalog.Lacked) (*catalog.Loan, error) {
	if l.Delta == nil {
		return nil, fmt.Errorf("layer %s: %w", l.Digest, fs.ErrNotExist)
	}
	if f := s.made.get(l.Digest); f != nil {
		return s.loan(f), nil
	}
	if ctx.Value(making{}) == nil { // Else it is for a layer that is being made.
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		ctx = context.WithValue(ctx, making{}, true)
	}
	if f := s.made.get(l.Digest); f != nil { // Somebody else has made it meanwhile.
		return s.loan(f), nil
	}
	f, err := s.make(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("making layer %s: %w", l.Digest, err)
	}
	return s.loan(s.made.put(l.Digest, f)), nil
}

// making marks the context of making a layer, which may need another layer to be made.
type making struct{}

// make makes a layer, which has its digest.
func (s *Set) make(ctx context.Context, l catalog.Lacked) (*madeFile, error) {
	d, err := delta.Open(l.Delta, l.Delta.Size())
	if err != nil {
		return nil, damaged(err)
	}
	if got := image.SHA256(d.Target.Digest); got != l.Digest {
		return nil, errdef.Errorf(errdef.ErrDamaged, "the delta makes another one, %s", got)
	}
	bases, err := s.basesOf(d)
	if err != nil {
		return nil, err
	}
	opened, release, err := openAll(ctx, bases)
	if err != nil {
		return nil, err
	}
	defer release()
	f, err := spool.Create(spool.Dir(s.TempDir))
	if err != nil {
		return nil, err
	}
	err = d.Apply(ctx, f, opened, &delta.ApplyOptions{TempDir: s.TempDir})
	if err != nil {
		if errors.Is(err, delta.ErrWrongBase) || errors.Is(err, delta.ErrDamagedBase) {
			err = fmt.Errorf("from layers of %s: %w", names(bases), err)
		}
		return nil, errors.Join(damaged(err), f.Close())
	}
	return &madeFile{file: f, size: d.Target.Size}, nil
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

func names(layers []*Layer) string {
	var all []string
	for _, l := range layers {
		all = append(all, l.From)
	}
	return strings.Join(all, ", ")
}

// damaged makes errors of a delta those that callers know.
func damaged(err error) error {
	for _, known := range []error{delta.ErrDamaged, delta.ErrWrongBase, delta.ErrDamagedBase, delta.ErrVersion} {
		if errors.Is(err, known) {
			return errdef.Errorf(errdef.ErrDamaged, "%w", err)
		}
	}
	return err
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
