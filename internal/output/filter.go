package output

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"

	"github.com/dockerarchive/dockerarchive/internal/compression"
)

// Options are ways to change the bytes for an Output.
type Options struct {
	// Compress is how they are compressed: None, Gzip or Zstd.
	Compress compression.Algorithm
	// Hash, if not nil, gets the bytes of a stream, after compression. It gets nothing of a
	// file that is not compressed, as that is not written from start to end.
	Hash hash.Hash
	// Split is the size given to CreateSplit, if that made the Output.
	Split int64
}

// With sets the options of an Output to which nothing has been written. If it fails, the
// Output is aborted. A compressed archive is a stream, also if it appears at its path
// complete or not at all, as any file.
func (o *Output) With(options Options) (*Output, error) {
	if err := o.checkSplit(options); err != nil {
		return nil, errors.Join(o.failure("creating", err), o.Abort())
	}
	if o.split != nil {
		return o, nil
	}
	var below io.Writer = o.writer
	if o.file != nil {
		if options.Compress == compression.None {
			return o, nil
		}
		below = o.file
	}
	if options.Hash != nil {
		below = io.MultiWriter(below, options.Hash)
	}
	if options.Compress == compression.None {
		o.writer = below
		return o, nil
	}
	gate := &gate{w: below}
	compressor, err := newCompressor(gate, options.Compress)
	if err != nil {
		return nil, errors.Join(o.failure("creating", err), o.Abort())
	}
	z := &compressed{below: gate, compressor: compressor}
	finish, undo, file := o.finish, o.undo, o.file
	o.finish = func(ctx context.Context) error {
		err := z.close()
		if err == nil && file != nil && !o.noSync {
			err = syncFile(file)
		}
		if err != nil {
			return errors.Join(err, undo())
		}
		return finish(ctx)
	}
	o.undo = func() error {
		gate.shut(fs.ErrClosed)
		err := undo() // A write under way fails now.
		go z.close()  // It ends its goroutines, and writes nothing any more.
		return err
	}
	o.appears, o.file, o.writer, o.stream = o.appears || o.file != nil, nil, z, true
	return o, nil
}

// compressed is a stream that is compressed. Close may be called while it is written.
type compressed struct {
	mu         sync.Mutex
	below      *gate
	compressor io.WriteCloser
}

// Write implements io.Writer.
func (z *compressed) Write(p []byte) (int, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if err := z.below.failure(); err != nil {
		return 0, err
	}
	return z.compressor.Write(p)
}

func (z *compressed) close() error {
	z.mu.Lock()
	defer z.mu.Unlock()
	err := z.compressor.Close()
	return cmp.Or(z.below.failure(), err)
}

// gate drops all writes once it is shut, as by a write that fails: an archive that was
// cut off gets no end. It returns no error: pgzip leaves a goroutine behind then.
type gate struct {
	w io.Writer

	mu  sync.Mutex
	err error // why it is shut
}

// Write implements io.Writer.
func (g *gate) Write(p []byte) (int, error) {
	if g.failure() == nil {
		if _, err := g.w.Write(p); err != nil {
			g.shut(err)
		}
	}
	return len(p), nil
}

func (g *gate) shut(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = cmp.Or(g.err, err)
}

func (g *gate) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Compression returns the compression of an archive at path: by name, which is none,
// gzip or zstd, or if that is empty, by the path.
func Compression(path, name string) (compression.Algorithm, error) {
	switch name {
	case "":
		return bySuffix(path), nil
	case "none":
		return compression.None, nil
	case "gzip":
		return compression.Gzip, nil
	case "zstd":
		return compression.Zstd, nil
	}
	return compression.None, fmt.Errorf("compression %q is neither none, gzip nor zstd", name)
}

// bySuffix returns how readers that go by the name take an archive to be compressed.
func bySuffix(path string) compression.Algorithm {
	switch {
	case strings.HasSuffix(path, ".tar.zst"), strings.HasSuffix(path, ".tzst"):
		return compression.Zstd
	case strings.HasSuffix(path, ".tar.gz"), strings.HasSuffix(path, ".tgz"):
		return compression.Gzip
	}
	return compression.None
}

// The bytes depend on these, and not on how many processors there are.
const (
	// gzipBlock is how much each block has that is compressed on its own.
	gzipBlock = 1 << 20
	// zstdWindow is the window that a reader has to keep: k3s refuses more than 32 MiB.
	zstdWindow = 8 << 20
	// compressors is how many blocks are compressed at the same time.
	compressors = 8
)

func newCompressor(w io.Writer, a compression.Algorithm) (io.WriteCloser, error) {
	switch a {
	case compression.Gzip:
		z := pgzip.NewWriter(w) // Its header has neither a name nor a time.
		return z, z.SetConcurrency(gzipBlock, compressors)
	case compression.Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(compressors), zstd.WithWindowSize(zstdWindow))
	}
	return nil, errors.New("cannot compress with " + a.String())
}
