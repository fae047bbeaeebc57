package input

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// ErrTooLarge means that something is so much larger than it was when compressed
// that it was made to fill a disk, or that it would fill the one that it has to be
// copied to. It is an errdef.ErrLimit.
var ErrTooLarge = errdef.Errorf(errdef.ErrLimit, "too large when uncompressed")

const (
	// modest is a size, in bytes, that any compressed file may have.
	modest = 1 << 30
	// maxRatio is how many times larger than as compressed a file may be that is not
	// modest. Programs and data are a few times larger; nothing but zeros is 1030
	// times with gzip, and more with zstd. All that has been read counts, so a layer
	// of zeros among others does no harm.
	maxRatio = 1000
	// reserve says that of the free space of a disk one part in so many is left to
	// others.
	reserve = 20
)

// limits bound how much is copied.
type limits struct {
	modest, ratio int64 // see the constants
	space         int64 // bytes that the disk can take, or -1 if that is not known
	dir           string
}

func limitsOf(dir string) limits {
	l := limits{modest: modest, ratio: maxRatio, space: -1, dir: dir}
	if free, ok := local.Free(dir); ok {
		l.space = free - free/reserve
	}
	return l
}

// check fails if size bytes, made of so many compressed ones, are too many.
// compressed is -1 if they are not compressed.
func (l limits) check(size, compressed int64) error {
	switch {
	case compressed >= 0 && size > l.modest && size/l.ratio >= compressed:
		return fmt.Errorf("%w: %d bytes compressed are more than %d, over %d times as much", ErrTooLarge, compressed, size, l.ratio)
	case l.space >= 0 && size > l.space:
		return fmt.Errorf("%w: more than the %d bytes that %s has to spare; choose another directory for temporary files", ErrTooLarge, l.space, l.dir)
	}
	return nil
}

// spooled copies a stream, uncompressed, to a temporary file.
func spooled(ctx context.Context, stream io.Reader, o Options) (*File, error) {
	dir := spool.Dir(o.TempDir)
	temp, err := spool.Create(dir)
	if err != nil {
		return nil, err
	}
	size, err := copyUncompressed(ctx, temp, stream, o.Looks, limitsOf(dir))
	if err != nil {
		return nil, errors.Join(err, temp.Close())
	}
	return &File{SectionReader: io.NewSectionReader(temp, 0, size), Copied: true, close: temp.Close}, nil
}

// copyUncompressed copies the stream to temp, if it looks as it should, and
// returns its uncompressed size.
func copyUncompressed(ctx context.Context, temp io.Writer, stream io.Reader, looks func([]byte) error, l limits) (int64, error) {
	ahead := async.NewReader(ctx, stream) // Ends with ctx even if the stream hangs.
	defer ahead.Close()
	prefix, err := ahead.Peek(compression.PrefixLen)
	if err != nil {
		return 0, err
	}
	b := &bounded{limits: l}
	source := io.Reader(ahead)
	algorithm := compression.Detect(prefix)
	if algorithm != compression.None {
		b.compressed = &counter{r: ahead}
		source = b.compressed
	}
	decompressed, err := compression.NewReader(source, algorithm)
	if err != nil {
		return 0, cutShort(algorithm, err)
	}
	err = b.copy(temp, decompressed, looks)
	return b.size, cutShort(algorithm, errors.Join(err, decompressed.Close()))
}

// cutShort adds to an error of decompression that the end is missing, if that is the cause.
// It is no io.ErrUnexpectedEOF any more, which may pass when something is read again.
func cutShort(a compression.Algorithm, err error) error {
	if a == compression.None || !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return errdef.Errorf(errdef.ErrDamaged, "it is cut short, before the end of what is compressed: %v", err)
}

// bounded is a copy that ends when it becomes too large.
type bounded struct {
	limits
	w          *async.Writer
	size       int64
	compressed *counter // nil if it is not
}

func (b *bounded) copy(w io.Writer, r io.Reader, looks func([]byte) error) error {
	block := make([]byte, LooksLen)
	n, readErr := readBlock(r, block)
	if readErr != nil && readErr != io.EOF {
		return readErr
	}
	if looks != nil {
		if err := looks(block[:n]); err != nil {
			return err
		}
	}
	b.w = async.NewWriter(w)
	_, err := b.Write(block[:n])
	if err == nil && readErr == nil {
		_, err = io.Copy(b, r)
	}
	if closeErr := b.w.Close(); !errors.Is(err, closeErr) {
		err = errors.Join(err, closeErr)
	}
	return err
}

// readBlock is io.ReadFull, but at the end, wherever that is, its error is io.EOF:
// io.ErrUnexpectedEOF is a compressed stream's that was cut.
func readBlock(r io.Reader, block []byte) (n int, err error) {
	for n < len(block) && err == nil {
		var m int
		m, err = r.Read(block[n:])
		n += m
	}
	return n, err
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	b.size += int64(len(p))
	compressed := int64(-1)
	if b.compressed != nil {
		compressed = b.compressed.n
	}
	if err := b.check(b.size, compressed); err != nil {
		return 0, err
	}
	return b.w.Write(p)
}

// counter counts the bytes that are read of a compressed stream.
type counter struct {
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
