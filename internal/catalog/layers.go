package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// layerCache remembers what was found out by reading a whole layer, for all
// images that share it.
type layerCache struct {
	files *tarfile.Index

	mu    sync.Mutex
	known map[int64]*layer // by offset
}

// layer is a layer without a descriptor: only reading it tells its size, if it
// is compressed, and its diff ID, if no config has it.
type layer struct {
	stored

	mu     sync.Mutex // held while the layer is read
	size   int64      // uncompressed, or -1
	diffID digest.Digest
}

func newLayerCache(files *tarfile.Index) *layerCache {
	return &layerCache{files: files, known: map[int64]*layer{}}
}

// find returns the layer that an entry leads to.
func (c *layerCache) find(name string) (*layer, error) {
	f, err := c.files.Lookup(name)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l, ok := c.known[f.Offset]; ok {
		return l, nil
	}
	algorithm, err := detect(c.files, f)
	if err != nil {
		return nil, err
	}
	l := &layer{stored: stored{Member: f, files: c.files, algorithm: algorithm}, size: -1}
	if algorithm == compression.None {
		l.size = f.Size
	}
	c.known[f.Offset] = l
	return l, nil
}

// detect returns how a file is compressed, by its content.
func detect(files *tarfile.Index, f tarfile.Member) (compression.Algorithm, error) {
	algorithm, err := detectIn(files.Open(f))
	if err != nil {
		return compression.None, fmt.Errorf("reading %s: %w", printable.String(f.Name), err)
	}
	return algorithm, nil
}

func detectIn(r io.ReaderAt) (compression.Algorithm, error) {
	prefix := make([]byte, compression.PrefixLen)
	n, err := r.ReadAt(prefix, 0)
	if err != nil && err != io.EOF {
		return compression.None, err
	}
	return compression.Detect(prefix[:n]), nil
}

// measure finds out the uncompressed sizes of layers, and their diff IDs if
// those are wanted, several at once. Each is read only if it has to be.
func measure(ctx context.Context, layers []*layer, diffIDs bool) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, l := range layers {
		g.Go(func() error { return l.measure(ctx, diffIDs) })
	}
	return g.Wait()
}

func (l *layer) measure(ctx context.Context, diffID bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size >= 0 && (!diffID || l.diffID != "") {
		return nil
	}
	stream, err := l.open()
	if err != nil {
		return err
	}
	var sink io.Writer = io.Discard
	digester := digest.Canonical.Digester()
	if diffID {
		sink = digester.Hash()
	}
	size, err := io.Copy(sink, async.WithContext(ctx, stream))
	if err := errors.Join(err, stream.Close()); err != nil {
		return fmt.Errorf("reading %s: %w", printable.String(l.Name), err)
	}
	l.size = size
	if diffID {
		l.diffID = digester.Digest()
	}
	return nil
}
