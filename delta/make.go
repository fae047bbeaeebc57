package delta

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/dockerarchive/dockerarchive/internal/deflate"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// MakeOptions are how a delta is made. The zero value is fine.
type MakeOptions struct {
	// TempDir is the directory for temporary files: the texts of target and bases,
	// the tokens of bases, and the delta. They have no names, and together at most
	// three times the size of the texts. The default is $TMPDIR or else the system's
	// for large files.
	TempDir string
	// TextOnly allows no delta that needs its bases as they were compressed.
	TextOnly bool
}

// Make writes a delta that makes target from bases to w, and returns its header. A
// delta without bases only compresses the target, which is useless.
//
// The delta has been applied, and has led to the target, before the first byte of it
// is written. If it would be no smaller than the target, or does not lead to it, nothing is
// written, and the error is ErrNoGain: send the target then. This happens with any target whose
// compression is not gzip, unless the base is nearly the same file.
//
// The bytes of a delta depend on the blobs, the options and the version of this
// package alone. Make ends with ctx. It takes up to 96 MB of memory, for blobs of
// any size.
func Make(ctx context.Context, w io.Writer, target Source, bases []Source, o *MakeOptions) (*Header, error) {
	if o == nil {
		o = &MakeOptions{}
	}
	m := maker{target: target, dir: spool.Dir(o.TempDir), textOnly: o.TextOnly}
	h, err := m.make(ctx, w, bases)
	if errors.Is(err, deflate.ErrFormat) || errors.Is(err, ErrDamaged) {
		// It is a valid gzip file, but a delta cannot describe it as one.
		m.plain = true
		h, err = m.make(ctx, w, bases)
	}
	if errors.Is(err, ErrDamaged) { // The blobs change, or it is a bug. The target itself will do.
		err = fmt.Errorf("%w: %w", ErrNoGain, err)
	}
	if err != nil {
		return nil, fmt.Errorf("making a delta: %w", err)
	}
	return h, nil
}

// maker makes a delta.
type maker struct {
	target   Source
	dir      string
	textOnly bool
	plain    bool // treat the target as plain, even if it looks compressed

	bases []*base
	text  *base // the target
	out   *streamWriter
}

// close frees the temporary files.
func (m *maker) close() {
	closeBases(m.bases)
	if m.text != nil {
		m.text.Close()
	}
	if m.out != nil {
		m.out.Close()
	}
	m.bases, m.text, m.out = nil, nil, nil
}

func (m *maker) make(ctx context.Context, w io.Writer, bases []Source) (*Header, error) {
	if len(bases) > maxBases {
		return nil, fmt.Errorf("%d bases: at most %d are possible", len(bases), maxBases)
	}
	defer m.close()
	h := &Header{}
	var err error
	if m.text, err = m.openTarget(ctx); err != nil {
		return nil, fmt.Errorf("reading the target: %w", err)
	}
	h.Target = m.text.Blob
	if h.Target.Form == Gzip {
		if h.Predictor, err = m.identify(ctx, h.Target.TextSize); err != nil {
			return nil, err
		}
	}
	needed := 0 // bases with their tokens
	if h.NeedsCompressedBases() {
		needed = len(bases)
	}
	for i, s := range bases {
		f, err := form(s)
		if err != nil {
			return nil, fmt.Errorf("reading base %d of %d: %w", i+1, len(bases), err)
		}
		b, err := m.open(ctx, s, f, needed)
		if err != nil {
			return nil, fmt.Errorf("reading base %d of %d: %w", i+1, len(bases), err)
		}
		m.bases = append(m.bases, b)
		h.Bases = append(h.Bases, b.Blob)
	}
	if m.out, err = newStreamWriter(m.dir, h.Target.TextSize+1<<20); err != nil {
		return nil, err
	}
	if err := m.fill(ctx, h); err != nil {
		return nil, err
	}
	return h, m.write(ctx, w, h)
}

// openTarget makes the target ready: as a gzip file if it is one, else as plain.
func (m *maker) openTarget(ctx context.Context) (*base, error) {
	if f, err := form(m.target); err != nil {
		return nil, err
	} else if f == Gzip && !m.plain {
		return m.open(ctx, m.target, f, 0)
	}
	return m.open(ctx, m.target, Plain, 0)
}

// open makes a blob of a form ready. If it only looks compressed, or expands too much, it is plain.
func (m *maker) open(ctx context.Context, s Source, f Form, tokens int) (*base, error) {
	b, err := openBase(ctx, s, f, tokens, sizeLimit, m.dir)
	if errors.Is(err, ErrDamagedBase) || errors.Is(err, ErrLargeBase) {
		b, err = openBase(ctx, s, Plain, 0, sizeLimit, m.dir)
	}
	return b, err
}

// fill makes the streams.
func (m *maker) fill(ctx context.Context, h *Header) error {
	old := newOldText(m.bases)
	m.free(h) // What the blobs were read with, and the layer before, if one was made.
	text := newTextEncoder(m.out, old, m.text.text, h.Target.TextSize)
	if err := findCopies(ctx, old, old.size(), m.text.text, h.Target.TextSize, text.add); err != nil {
		return err
	}
	if err := text.finish(); err != nil {
		return err
	}
	if h.Target.Form == Plain {
		return m.out.err
	}
	copies := &stream{source: rememberingReader{r: m.out.raw(streamCopies)}, left: m.out.all[streamCopies].size, buf: make([]byte, 0, streamBuffer)}
	p, err := h.Predictor.start(&spanReader{ctx: ctx, s: copies, newSize: h.Target.TextSize, oldSize: old.size()}, old)
	if err != nil {
		return err
	}
	d := &describer{out: m.out, p: newPrediction(io.NewSectionReader(m.text.text, 0, h.Target.TextSize), p)}
	return d.describe(&contextReader{ctx, io.NewSectionReader(m.target, 0, h.Target.Size)})
}

// free gives memory back that is no longer used, if it is much.
func (m *maker) free(h *Header) {
	if h.Target.TextSize > 1<<20 {
		debug.FreeOSMemory()
	}
}

// write compresses the streams, applies the delta, and writes it.
func (m *maker) write(ctx context.Context, w io.Writer, h *Header) error {
	file, err := spool.Create(m.dir)
	if err != nil {
		return err
	}
	defer file.Close()
	m.free(h) // the table of the search, before another as large is made
	if h.sizes, err = m.out.compress(ctx, io.NewOffsetWriter(file, 0)); err != nil {
		return err
	}
	start := h.encode()
	if int64(len(start))+h.streamsSize() >= h.Target.Size {
		return ErrNoGain
	}
	m.free(h)
	d := &Delta{Header: *h, streams: file}
	if err := d.apply(ctx, io.Discard, m.bases); err != nil {
		return fmt.Errorf("it does not lead to the target: %w", err)
	}
	if _, err := w.Write(start); err != nil {
		return err
	}
	_, err = io.Copy(w, io.NewSectionReader(file, 0, h.streamsSize()))
	return err
}
