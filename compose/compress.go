package compose

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/compression"
)

// algorithms are those that Compression can say, with their highest levels.
var algorithms = map[Algorithm]struct {
	compression.Algorithm
	levels int
}{Gzip: {compression.Gzip, 9}, Zstd: {compression.Zstd, 22}, None: {compression.None, 0}}

func (c Compression) algorithm() compression.Algorithm { return algorithms[c.Algorithm].Algorithm }

// check returns an error if layers cannot be compressed so in a format.
func (c Compression) check(format Format) error {
	a, ok := algorithms[c.Algorithm]
	if !ok {
		return fmt.Errorf("there is no compression %d", int(c.Algorithm))
	}
	if c.Level < 0 || c.Level > a.levels {
		return fmt.Errorf("%s has no level %d", a, c.Level)
	}
	_, err := mediaType(format, a.Algorithm)
	return err
}

// compress compresses all of r to w. The bytes depend on the input only, and not on
// the number of cores.
func (c Compression) compress(w io.Writer, r io.Reader) error {
	kept := &errorKeeper{w: w}
	z, err := c.writer(kept)
	if err != nil {
		return err
	}
	if _, err = io.Copy(failingWith{z, kept}, r); err != nil {
		_ = z.Close() // Its output is no longer wanted.
		return err
	}
	return errors.Join(z.Close(), kept.error())
}

func (c Compression) writer(w io.Writer) (io.WriteCloser, error) {
	if c.Algorithm == Zstd {
		level := zstd.SpeedDefault
		if c.Level != 0 {
			level = zstd.EncoderLevelFromZstd(c.Level)
		}
		// 8 MiB is what every decoder takes.
		return zstd.NewWriter(w, zstd.WithEncoderLevel(level), zstd.WithWindowSize(8<<20), zstd.WithEncoderConcurrency(2))
	}
	level := c.Level
	if level == 0 {
		level = pgzip.DefaultCompression
	}
	z, err := pgzip.NewWriterLevel(w, level)
	if err != nil {
		return nil, err
	}
	const blockSize, blocks = 256 << 10, 8
	return z, z.SetConcurrency(blockSize, blocks)
}

// errorKeeper is a writer that does not fail, but keeps its error: pgzip leaves a
// goroutine behind when what it writes to fails.
type errorKeeper struct {
	w io.Writer

	mu  sync.Mutex
	err error
}

func (k *errorKeeper) error() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// Write implements io.Writer.
func (k *errorKeeper) Write(p []byte) (int, error) {
	if k.error() == nil {
		_, err := k.w.Write(p)
		k.mu.Lock()
		k.err = err
		k.mu.Unlock()
	}
	return len(p), nil
}

// failingWith is a writer that fails when another has.
type failingWith struct {
	io.Writer
	kept *errorKeeper
}

// Write implements io.Writer.
func (f failingWith) Write(p []byte) (int, error) {
	if err := f.kept.error(); err != nil {
		return 0, err
	}
	return f.Writer.Write(p)
}

// decompress returns a reader of the data that is compressed in r, and does not close
// r. An error that is not from reading r is an errdef.ErrDamaged.
func decompress(r io.Reader, a compression.Algorithm) (io.ReadCloser, error) {
	source := &sourceError{r: r}
	d, err := compression.NewReader(source, a)
	if err != nil {
		return nil, source.explain(err)
	}
	return &decompressing{d, source}, nil
}

// sourceError is a reader that remembers its error.
type sourceError struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *sourceError) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func (s *sourceError) explain(err error) error {
	if s.err != nil || err == nil || err == io.EOF {
		return err
	}
	return errdef.Errorf(errdef.ErrDamaged, "%w", err)
}

type decompressing struct {
	io.ReadCloser
	source *sourceError
}

// Read implements io.Reader.
func (d *decompressing) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	return n, d.source.explain(err)
}
