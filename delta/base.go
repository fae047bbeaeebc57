package delta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/zstd"

	"github.com/dockerarchive/dockerarchive/internal/deflate"
	"github.com/dockerarchive/dockerarchive/internal/inflate"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// Source is a blob to read: its bytes and its size.
type Source interface {
	io.ReaderAt
	Size() int64
}

// base is a blob that is made ready to be copied from: its text, and, if they are
// asked for, its tokens. Both are in temporary files, but for the text of a blob
// that is not compressed.
type base struct {
	Blob
	text   io.ReaderAt
	tokens *tokenFile // nil: none
	file   *local.File
	damage error // that does not keep the text from being read: of a checksum, or behind the end
}

// Close frees the temporary files.
func (b *base) Close() error {
	var err error
	if b.tokens != nil {
		err = b.tokens.Close()
	}
	if b.file != nil {
		err = errors.Join(err, b.file.Close())
	}
	return err
}

// form tells how a blob looks compressed.
func form(s Source) (Form, error) {
	var start [4]byte
	n, err := s.ReadAt(start[:], 0)
	switch {
	case n < len(start) && err != nil && err != io.EOF:
		return Plain, err
	case bytes.HasPrefix(start[:n], []byte{0x1f, 0x8b, 8}):
		return Gzip, nil
	case bytes.Equal(start[:n], []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return Zstd, nil
	}
	return Plain, nil
}

// openBase makes a blob of a form ready, with its tokens if they are needed of some bases. Its text
// may have limit bytes.
func openBase(ctx context.Context, s Source, f Form, tokens int, limit int64, dir string) (b *base, err error) {
	b = &base{Blob: Blob{Form: f, Size: s.Size()}}
	defer func() {
		if err != nil {
			b.Close()
			b = nil
		}
	}()
	if f == Plain {
		b.text, b.TextSize = s, b.Size
		if b.Digest, err = hash(ctx, s); err != nil {
			return b, err
		}
		b.TextDigest = b.Digest
		return b, nil
	}
	if b.file, err = spool.Create(dir); err != nil {
		return b, err
	}
	b.text = b.file
	switch {
	case f == Zstd:
		return b, b.decompress(ctx, s, limit, unzstd)
	case tokens == 0:
		// This decoder is much faster, but refuses wrong checksums and data after the last member.
		if err = b.decompress(ctx, s, limit, inflateGzip); !errors.Is(err, ErrDamagedBase) {
			return b, err
		}
		b.damage = err
	default:
		if b.tokens, err = newTokenFile(dir, tokens); err != nil {
			return b, err
		}
	}
	return b, b.decompress(ctx, s, limit, b.gunzip)
}

func hash(ctx context.Context, s Source) (d Digest, err error) {
	sum := sha256.New()
	_, err = io.Copy(sum, &contextReader{ctx, io.NewSectionReader(s, 0, s.Size())})
	sum.Sum(d[:0])
	return d, err
}

// decompress writes the text of a blob to b.file.
func (b *base) decompress(ctx context.Context, s Source, limit int64, decode func(io.Reader, io.Writer) error) error {
	blobSum, textSum := sha256.New(), sha256.New()
	in := &rememberingReader{r: io.TeeReader(&contextReader{ctx, io.NewSectionReader(s, 0, s.Size())}, blobSum)}
	out := &textWriter{w: io.MultiWriter(io.NewOffsetWriter(b.file, 0), textSum), limit: limit, most: mostText(b.Form, b.Size)}
	err := decode(in, out)
	if err == nil { // decoders need not read to the end
		_, err = io.Copy(io.Discard, in)
	}
	switch {
	case in.err != nil && in.err != io.EOF:
		return in.err
	case out.err != nil:
		return out.err
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return fmt.Errorf("%w: its window is larger than %d bytes", ErrLargeBase, maxBaseWindow)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrDamagedBase, err)
	}
	b.TextSize = out.n
	blobSum.Sum(b.Digest[:0])
	textSum.Sum(b.TextDigest[:0])
	return nil
}

// maxBaseWindow is how much memory the window of a zstd base may take.
const maxBaseWindow = 32 << 20

// mostText returns what the text of a blob may have, against bombs: what deflate can, and for zstd
// as much as a layer unpacks to where its files are read.
func mostText(f Form, size int64) int64 {
	if f == Gzip {
		return size*maxRatio + maxRatio - 1
	}
	return max(1<<30, size*100)
}

// textWriter writes a text that must not exceed its stated size, or what is usual.
type textWriter struct {
	w              io.Writer
	n, limit, most int64
	err            error
}

// Write implements io.Writer.
func (w *textWriter) Write(p []byte) (int, error) {
	if w.n += int64(len(p)); w.n > w.limit {
		w.err = fmt.Errorf("%w: its text is larger than %d bytes", ErrWrongBase, w.limit)
	} else if w.n > w.most {
		w.err = fmt.Errorf("%w: its text is larger than %d bytes", ErrLargeBase, w.most)
	} else {
		_, w.err = w.w.Write(p)
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

func unzstd(r io.Reader, w io.Writer) error {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxBaseWindow))
	if err != nil {
		return err
	}
	defer z.Close()
	_, err = z.WriteTo(w)
	return err
}

// inflateGzip writes the text of a gzip file. r must end with the file.
func inflateGzip(r io.Reader, w io.Writer) error {
	z, err := inflate.NewReader(r)
	if err != nil {
		return err
	}
	defer z.Close()
	_, err = z.WriteTo(w)
	return err
}

// gunzip writes the text of a gzip file to w and its tokens to b.tokens, if that is
// not nil. It ignores data after the last member, and only notes wrong checksums.
func (b *base) gunzip(r io.Reader, w io.Writer) error {
	tokens := b.tokens
	sound, err := readTokens(r, func(b *deflate.Block, batch []deflate.Token, text []byte) error {
		if tokens != nil {
			if b.Type == deflate.Stored {
				tokens.literals(len(text))
			} else {
				tokens.add(batch)
			}
		}
		_, err := w.Write(text)
		return err
	})
	if !sound && b.damage == nil {
		b.damage = errChecksum
	}
	if err == nil && tokens != nil {
		err = tokens.finish()
	}
	return err
}

var errChecksum = errors.New("checksum or length of a member mismatch")

// readTokens gives f the tokens of a gzip file and their text, piece by piece. It
// ends with the last member, and with an error of f. sound means that all checksums
// were right.
func readTokens(r io.Reader, f func(b *deflate.Block, tokens []deflate.Token, text []byte) error) (sound bool, err error) {
	z := deflate.NewReader(r)
	sound = true
	for members := 0; ; members++ {
		_, ok, err := z.Member()
		if err != nil {
			return sound, err
		}
		if !ok {
			if members == 0 {
				return sound, deflate.ErrFormat
			}
			return sound, nil
		}
		for final := false; !final; {
			b, err := z.Block()
			if err != nil {
				return sound, err
			}
			final = b.Final
			for done := false; !done; {
				var tokens []deflate.Token
				var text []byte
				if tokens, text, done, err = z.Read(); err != nil {
					return sound, err
				}
				if err := f(b, tokens, text); err != nil {
					return sound, err
				}
			}
		}
		end, err := z.End()
		if err != nil {
			return sound, err
		}
		sound = sound && end.Bytes == end.Computed
	}
}

// oldText is the texts of all bases, one after the other, as copies address it.
type oldText struct {
	bases []*base
	ends  []int64
}

func newOldText(bases []*base) *oldText {
	t := &oldText{bases: bases}
	for _, b := range bases {
		t.ends = append(t.ends, t.size()+b.TextSize)
	}
	return t
}

func (t *oldText) size() int64 {
	if len(t.ends) == 0 {
		return 0
	}
	return t.ends[len(t.ends)-1]
}

// at returns the base that has the text at a position, and where that text begins
// and ends.
func (t *oldText) at(pos int64) (b *base, start, end int64) {
	for i, end := range t.ends {
		if pos < end {
			return t.bases[i], end - t.bases[i].TextSize, end
		}
	}
	return nil, t.size(), math.MaxInt64
}

// ReadAt fills p from pos on.
func (t *oldText) ReadAt(p []byte, pos int64) (int, error) {
	n := 0
	for n < len(p) {
		b, start, end := t.at(pos)
		if b == nil {
			return n, io.EOF
		}
		k := int(min(int64(len(p)-n), end-pos))
		if m, err := b.text.ReadAt(p[n:n+k], pos-start); m < k {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n + m, err
		}
		n += k
		pos += int64(k)
	}
	return n, nil
}
