package files

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/compression"
)

// Options say how an image's files are read.
type Options struct {
	// MaxEntries bounds the entries of all layers together: 4 Mi if it is 0.
	MaxEntries int64
	// MaxBytes bounds their names, link targets and PAX records together, in bytes:
	// 256 MiB if it is 0.
	MaxBytes int64
	// MaxUnpacked bounds what a compressed layer unpacks to, in bytes, if that is more than 100
	// times its size: 64 GiB if it is 0.
	MaxUnpacked int64
	// Random has restart points kept while layers are read, for ReaderAt.
	Random bool
	// Entries keeps the entries of layers as they are, for Entries.
	Entries bool
	// TempDir is where layers are kept that cannot be read twice.
	TempDir string
	// Shared, if not nil, lets trees read the layers that they share once.
	Shared *Shared
}

const (
	defaultEntries = 4 << 20
	defaultBytes   = 256 << 20

	defaultUnpacked = 64 << 30

	// together is how many layers are read side by side, at most.
	together = 4
)

// Tree is the files of an image: what its layers add up to. Its methods may be used
// concurrently. A layer is read when it is first needed, and once.
type Tree struct {
	*image
	lowest, to int  // layers
	alone      bool // it is one layer, whatever is below it
}

// image is what trees of one image share.
type image struct {
	options Options
	limits  limits
	layers  []*lazy // the lowest first
	counted []bool  // layers whose share the limits have counted; each guarded by the reading of its layer
	steps   atomic.Int64
}

// lazy is a layer that is read when it is needed.
type lazy struct {
	*stored
	*layer
	unpacked int64
	total    int64 // bytes of content of its entries
	verified bool  // by being read

	reading chan struct{} // taken while reading the layer
	done    bool
	took    size
	content content
	sharing
}

// New returns the files of an image with these layers, the lowest first. The caller must
// close it. Nothing is read yet.
func New(layers []Source, options Options) *Tree {
	t := &image{options: options, counted: make([]bool, len(layers))}
	t.limits.maxEntries, t.limits.maxBytes = cmp.Or(options.MaxEntries, defaultEntries), cmp.Or(options.MaxBytes, defaultBytes)
	t.limits.entries.Store(t.limits.maxEntries)
	t.limits.bytes.Store(t.limits.maxBytes)
	for i := range layers {
		l := &lazy{stored: &stored{Source: &layers[i], tempDir: options.TempDir, maxUnpacked: cmp.Or(options.MaxUnpacked, defaultUnpacked)}, reading: make(chan struct{}, 1)}
		t.layers = append(t.layers, options.Shared.share(i, l))
	}
	return &Tree{image: t, to: len(layers)}
}

// Close frees what the Tree needed. It must not be used then.
func (t *Tree) Close() error {
	var errs []error
	for _, l := range t.layers {
		if l.release() {
			errs = append(errs, l.content.close(), l.close())
		}
	}
	return errors.Join(errs...)
}

// Layers returns the number of layers.
func (t *Tree) Layers() int { return t.to - t.lowest }

// Below returns the tree of the first n layers. It shares everything with t, and must not be
// closed.
func (t *Tree) Below(n int) *Tree { return &Tree{image: t.image, lowest: t.lowest, to: t.lowest + n} }

// Layer returns the tree of one layer on its own: its files, without its whiteouts.
// It shares everything with t, and must not be closed.
func (t *Tree) Layer(i int) *Tree { return &Tree{t.image, i, i + 1, true} }

// Load reads all layers that have not been read yet, the largest first.
//
// A layer that is damaged, or says what no layer can, is an errdef.ErrDamaged; one that
// would need more memory or time than any real one is an errdef.ErrLimit. Each error
// names the layer. When ctx ends, so does the reading, with its error.
func (t *Tree) Load(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(min(together, runtime.GOMAXPROCS(0)))
	for _, i := range t.largestFirst() {
		group.Go(func() error { return t.load(ctx, i, nil) })
	}
	return group.Wait()
}

// largestFirst returns the layers in the order in which reading them side by side takes least
// time: one that is much larger than others should not be the last to begin.
func (t *Tree) largestFirst() []int {
	order := make([]int, 0, t.Layers())
	for i := t.lowest; i < t.to; i++ {
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(t.layers[b].Size, t.layers[a].Size) })
	return order
}

// load reads a layer that has not been read yet. If f is not nil, it is called for each file with
// content.
func (t *image) load(ctx context.Context, i int, f found) error {
	l := t.layers[i]
	select {
	case l.reading <- struct{}{}:
		defer func() { <-l.reading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	var err error
	switch {
	case !l.done:
		err = t.read(ctx, i, l, f)
	case !t.counted[i]: // Another tree has read it.
		err = t.limits.count(l.took)
	}
	if err != nil {
		return fmt.Errorf("layer %s: %w", l.Name, err)
	}
	l.done, t.counted[i] = true, true
	return nil
}

func (t *image) read(ctx context.Context, i int, l *lazy, f found) (err error) {
	if err := l.open(ctx); err != nil {
		return err
	}
	l.layer = newLayer()
	s := scanner{taking: taking{limits: &t.limits}, maker: newMaker(i), layer: l.layer, outside: l.Outside, keep: t.options.Entries, found: f}
	defer func() {
		l.took = s.size
		if err != nil {
			s.giveBack(s.size)
		}
	}()
	if l.algorithm == compression.None && l.at != nil && f == nil {
		l.unpacked = l.size
		err := s.scan(&seeking{ctx: ctx, r: l.at, size: l.size})
		l.total = s.total
		return err
	}
	decompress := l.decompress
	if t.options.Random && l.at != nil {
		decompress = l.content.collect(l.stored)
	}
	stream, err := l.unpack(ctx, true, decompress)
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // It was only read.
	if !t.options.Random {
		return l.readStream(&s, stream)
	}
	r, kept, err := l.content.keep(stream, l.tempDir)
	if err != nil {
		return err
	}
	return kept(l.readStream(&s, r))
}

// readStream reads the layer's tar, to the end of the stream.
func (l *lazy) readStream(s *scanner, stream io.Reader) (err error) {
	in := newStreamed(stream)
	if err := s.scan(in); err != nil {
		return err
	}
	l.unpacked, err = in.finish()
	l.total = s.total
	l.verified = err == nil
	return err
}

// Sizes returns how many bytes a layer has as it is stored and unpacked. It must have
// been read.
func (t *Tree) Sizes(layer int) (stored, unpacked int64) {
	return t.layers[layer].size, t.layers[layer].unpacked
}
