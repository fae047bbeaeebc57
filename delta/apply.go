package delta

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// Delta is a delta that is read.
type Delta struct {
	Header
	streams io.ReaderAt // from the first one on
}

// Open reads the header of a delta of the given size. It does not close r.
// A delta that is damaged is ErrDamaged, one that is too new ErrVersion.
func Open(r io.ReaderAt, size int64) (*Delta, error) {
	h, n, err := readHeader(io.NewSectionReader(r, 0, size))
	if err != nil {
		return nil, fmt.Errorf("opening a delta: %w", err)
	}
	if want := n + h.streamsSize(); size != want {
		return nil, fmt.Errorf("opening a delta: %w: it has %d bytes and should have %d", ErrDamaged, size, want)
	}
	return &Delta{Header: *h, streams: io.NewSectionReader(r, n, size-n)}, nil
}

// ApplyOptions are how a delta is applied. The zero value is fine.
type ApplyOptions struct {
	// TempDir is the directory for temporary files: the text of bases that are
	// compressed and, if the delta needs them, their tokens. They have no names. The
	// default is $TMPDIR or else the system's for large files.
	TempDir string
}

// Apply writes the target to w. It takes the bases in the order of Header.Bases.
//
// The output is the target only if the error is nil: its size and digest have been
// compared then. A delta that is damaged is ErrDamaged, a base that the delta was not
// made from ErrWrongBase, one that cannot be decompressed ErrDamagedBase or ErrLargeBase.
//
// Apply ends with ctx. It takes up to 96 MB of memory, for blobs of any size, and
// mostly a third of that.
func (d *Delta) Apply(ctx context.Context, w io.Writer, bases []Source, o *ApplyOptions) error {
	if o == nil {
		o = &ApplyOptions{}
	}
	ready, err := d.openBases(ctx, bases, spool.Dir(o.TempDir))
	defer closeBases(ready)
	if err != nil {
		return fmt.Errorf("applying a delta: %w", err)
	}
	if err := d.apply(ctx, w, ready); err != nil {
		return fmt.Errorf("applying a delta: %w", err)
	}
	return nil
}

func closeBases(bases []*base) {
	for _, b := range bases {
		b.Close()
	}
}

// openBases makes bases ready, and compares them with those of the delta. Close the
// bases that it returns, also after an error.
func (d *Delta) openBases(ctx context.Context, bases []Source, dir string) (ready []*base, err error) {
	if len(bases) != len(d.Bases) {
		return nil, fmt.Errorf("%w: %d are given, and %d needed", ErrWrongBase, len(bases), len(d.Bases))
	}
	for i, s := range bases {
		b, err := d.openBase(ctx, s, &d.Bases[i], dir)
		if err != nil {
			return ready, fmt.Errorf("base %d of %d: %w", i+1, len(bases), err)
		}
		ready = append(ready, b)
	}
	return ready, nil
}

// tokensOf returns of how many bases the tokens are needed.
func (h *Header) tokensOf() int {
	if h.NeedsCompressedBases() {
		return len(h.Bases)
	}
	return 0
}

func (d *Delta) openBase(ctx context.Context, s Source, want *Blob, dir string) (*base, error) {
	f := want.Form
	if f != Plain || s.Size() != want.Size { // it may be compressed otherwise, or not at all
		var err error
		if f, err = form(s); err != nil {
			return nil, err
		}
	}
	b, err := openBase(ctx, s, f, d.tokensOf(), want.TextSize, dir)
	if err != nil {
		return nil, err
	}
	switch {
	case b.TextDigest != want.TextDigest && b.damage != nil:
		err = fmt.Errorf("%w: %w", ErrDamagedBase, b.damage)
	case b.TextDigest != want.TextDigest:
		err = fmt.Errorf("%w: its text is sha256:%x, not sha256:%x", ErrWrongBase, b.TextDigest, want.TextDigest)
	case d.NeedsCompressedBases() && b.Digest != want.Digest:
		err = fmt.Errorf("%w: sha256:%x", ErrNeedsCompressedBase, want.Digest)
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// apply writes the target, made from bases that are ready, and compares it.
func (d *Delta) apply(ctx context.Context, w io.Writer, bases []*base) error {
	sum := sha256.New()
	out := &boundedWriter{w: io.MultiWriter(w, sum), left: d.Target.Size}
	if err := d.write(ctx, out, newOldText(bases)); err != nil {
		return err
	}
	if got := Digest(sum.Sum(nil)); got != d.Target.Digest || out.left != 0 {
		return fmt.Errorf("%w: it leads to sha256:%x, not sha256:%x", ErrDamaged, got, d.Target.Digest)
	}
	return nil
}

// boundedWriter writes a target that must not exceed its stated size.
type boundedWriter struct {
	w    io.Writer
	left int64
}

// Write implements io.Writer.
func (w *boundedWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > w.left {
		return 0, fmt.Errorf("%w: it leads to more bytes than it says", ErrDamaged)
	}
	w.left -= int64(len(p))
	return w.w.Write(p)
}

// write writes the target.
func (d *Delta) write(ctx context.Context, w io.Writer, old *oldText) error {
	var in [numStreams]*stream
	defer func() {
		for _, s := range in {
			if s != nil {
				s.Close()
			}
		}
	}()
	for i := range in {
		var err error
		if in[i], err = d.open(i); err != nil {
			return err
		}
	}
	spans := &spanReader{ctx: ctx, s: in[streamCopies], newSize: d.Target.TextSize, oldSize: old.size()}
	text, err := newTextReader(spans, old, in[streamGaps], in[streamValues], in[streamExtra])
	if err != nil {
		return err
	}
	if d.Target.Form == Plain {
		_, err = io.Copy(w, &contextReader{ctx, text})
	} else {
		err = d.writeGzip(ctx, w, text, old, &in)
	}
	if err != nil {
		return err
	}
	for _, s := range in {
		if err := s.end(); err != nil {
			return err
		}
	}
	return nil
}

// open returns a stream from its beginning.
func (d *Delta) open(stream int) (*stream, error) {
	off := int64(0)
	for _, s := range d.sizes[:stream] {
		off += s.stored
	}
	size := d.sizes[stream]
	return openStream(io.NewSectionReader(d.streams, off, size.stored), size)
}

// writeGzip writes a target that is a gzip file, and compares its text.
func (d *Delta) writeGzip(ctx context.Context, w io.Writer, text io.Reader, old *oldText, in *[numStreams]*stream) error {
	var copies *spanReader
	if d.Predictor == OldTokens { // reads them again
		s, err := d.open(streamCopies)
		if err != nil {
			return err
		}
		defer s.Close()
		copies = &spanReader{ctx: ctx, s: s, newSize: d.Target.TextSize, oldSize: old.size()}
	}
	p, err := d.Predictor.start(copies, old)
	if err != nil {
		return err
	}
	sum := sha256.New()
	walk := newPrediction(&contextReader{ctx, io.TeeReader(text, sum)}, p)
	if err := newRebuilder(in, walk, w).rebuild(); err != nil {
		return err
	}
	if walk.pos != d.Target.TextSize {
		return fmt.Errorf("%w: fewer tokens than text", ErrDamaged)
	}
	if got := Digest(sum.Sum(nil)); got != d.Target.TextDigest {
		return fmt.Errorf("%w: its target's text is sha256:%x, not sha256:%x", ErrDamaged, got, d.Target.TextDigest)
	}
	return nil
}
