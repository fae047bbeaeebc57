package browsing

import (
	"context"
	"hash/maphash"
	"strconv"
	"strings"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/serving"
)

const (
	// maxEntries and maxNames bound images whose files are shown: entries of all layers, and
	// bytes of their names.
	maxEntries = 1 << 20
	maxNames   = 64 << 20
	// entryWeight is about how many bytes an entry takes.
	entryWeight = 300
	// restartWeight is how many bytes a restart point takes, and restartInterval how far apart
	// two of them are at least; see package files.
	restartWeight   = 32 << 10
	restartInterval = 4 << 20
	maxRestarts     = 256
)

// contents is the files of an image.
type contents struct {
	tree  *files.Tree
	stats []files.LayerStats
	sizes *sizes
	done  func() // of the archive
}

func (c *contents) weight() int64 {
	w := int64(c.sizes.count) * entryWeight
	for _, s := range c.stats {
		w += min(s.Unpacked/restartInterval, maxRestarts) * restartWeight
	}
	return w
}

func (c *contents) close() {
	_ = c.tree.Close() // It has only been read.
	c.done()
}

// contents returns the files of an image. It reads the layers unless they have been read.
// release must be called.
func (p *Pages) contents(ctx context.Context, e *entry) (*contents, func(), error) {
	at := e.places[0].archive
	r, release, err := p.cache.get(ctx, key{"files", string(e.id), [2]serving.Served{at}}, func(ctx context.Context) (result, error) {
		return p.readContents(ctx, e)
	})
	if err != nil {
		return nil, nil, err
	}
	return r.(*contents), release, nil
}

func (p *Pages) readContents(ctx context.Context, e *entry) (_ *contents, err error) {
	free, err := p.cache.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer free()
	o, err := e.openAt(ctx, e.places[0])
	if err != nil {
		return nil, err
	}
	layers, err := o.manifest.LayerSources(ctx)
	if err != nil {
		o.done()
		return nil, err
	}
	sources := make([]files.Source, len(layers))
	for i, l := range layers {
		sources[i] = files.Source{Name: l.Name, Digest: l.Digest, DiffID: l.DiffID, At: l.At, Open: l.Open, Size: l.Size}
	}
	c := &contents{done: o.done}
	c.tree = files.New(sources, files.Options{Random: true, MaxEntries: maxEntries, MaxBytes: maxNames, TempDir: p.options.TempDir, Shared: &p.shared})
	if c.stats, err = c.tree.Stats(ctx); err == nil {
		c.sizes, err = newSizes(ctx, c.tree)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// sizes is how much is below each directory of a tree.
type sizes struct {
	seed  maphash.Seed
	dirs  map[uint64]total // by the hash of the path, as paths may be long
	count int              // of all entries
}

// total is how much is below a directory.
type total struct {
	bytes int64 // of files, those with several names once
	files int
}

func (s *sizes) weight() int64 { return int64(len(s.dirs)) * 48 }
func (s *sizes) close()        {}

// of returns how much is below a directory.
func (s *sizes) of(path string) total { return s.dirs[maphash.String(s.seed, path)] }

// newSizes reads all of a tree.
func newSizes(ctx context.Context, t *files.Tree) (*sizes, error) {
	s := &sizes{seed: maphash.MakeSeed(), dirs: map[uint64]total{}}
	root, err := t.Root(ctx)
	if err != nil {
		return nil, err
	}
	type level struct {
		path string
		total
	}
	var up []level
	pop := func() {
		last := up[len(up)-1]
		up = up[:len(up)-1]
		s.dirs[maphash.String(s.seed, last.path)] = last.total
		if len(up) > 0 {
			up[len(up)-1].bytes += last.bytes
			up[len(up)-1].files += last.files
		}
	}
	seen := map[uint64]bool{}
	for e, err := range t.Walk(ctx, root) {
		if err != nil {
			return nil, err
		}
		s.count++
		for len(up) > 0 && up[len(up)-1].path != "" && !strings.HasPrefix(e.Path, up[len(up)-1].path+"/") {
			pop()
		}
		if e.IsDir() {
			up = append(up, level{path: e.Path})
			continue
		}
		top := &up[len(up)-1]
		top.files++
		if e.IsRegular() && !seen[e.Inode()] {
			seen[e.Inode()] = true
			top.bytes += e.Size()
		}
	}
	for len(up) > 0 {
		pop()
	}
	return s, nil
}

// sizesOf returns how much is in the directories of a layer, or of the image if that is
// negative. release must be called.
func (p *Pages) sizesOf(ctx context.Context, e *entry, c *contents, layer int) (*sizes, func(), error) {
	if layer < 0 {
		return c.sizes, func() {}, nil
	}
	k := key{"layer " + strconv.Itoa(layer), string(e.id), [2]serving.Served{e.places[0].archive}}
	r, release, err := p.cache.get(ctx, k, func(ctx context.Context) (result, error) { return newSizes(ctx, c.tree.Layer(layer)) })
	if err != nil {
		return nil, nil, err
	}
	return r.(*sizes), release, nil
}
