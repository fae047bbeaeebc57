package fetching

import (
	"context"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/progress"
)

// reader reads a blob over a line of its own, as a whole, and where others help it from
// them in ranges. It resumes it after errors that may pass, goes on with the next image
// that has it after others, and verifies its size and, if it is to, its digest.
type reader struct {
	ctx    context.Context
	cancel context.CancelFunc
	f      *Fetcher
	blob   *Blob
	mu     sync.Mutex // held while reading

	images  []*Image // the first of them is being read from
	tries   *attempts
	whole   bool      // nobody is to help
	parts   []*host   // that were asked for parts
	kept    io.Reader // what need not be fetched; nil if there is nothing, or no more
	body    io.ReadCloser
	line    line      // how body does
	ahead   *ranges   // what others fetch; nil if nobody helps
	pending error     // of body, after the data that came with it
	n       int64     // bytes that have been returned
	hash    hash.Hash // nil if somebody else verifies the blob, or what Follow has returned
	err     error     // to be returned from now on
}

func newReader(ctx context.Context, f *Fetcher, blob *Blob, images []*Image) *reader {
	ctx, cancel := context.WithCancel(ctx)
	return &reader{ctx: ctx, cancel: cancel, f: f, blob: blob, images: images, tries: newAttempts(f, blob.Descriptor)}
}

// verifies has the reader verify the blob.
func (r *reader) verifies() {
	if algorithm := r.blob.Digest.Algorithm(); algorithm.Available() {
		r.hash = algorithm.Hash()
	} else {
		r.err = fmt.Errorf("%w: its digest %s is of an unknown algorithm", ErrSource, r.blob.Digest)
	}
}

// followedSize is the size, in bytes, from which on hashing a blob is worth a goroutine.
const followedSize = 1 << 20

// Follow implements async.Followed: it leaves verifying to the function that it returns.
func (r *reader) Follow() func(p []byte, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hash == nil || r.n > 0 || r.blob.Size < followedSize {
		return nil
	}
	h := r.hash
	r.hash = nil
	return func(p []byte, err error) error {
		h.Write(p)
		if err == io.EOF {
			return verify(r.blob.Digest, h)
		}
		return err
	}
}

// close ends reading, and returns the images that had not failed.
func (r *reader) close() []*Image {
	r.cancel()
	if r.mu.TryLock() {
		defer r.mu.Unlock()
		r.closeAll()
		return r.images
	}
	go func() { // A source that does not respect its context is not waited for.
		r.mu.Lock()
		defer r.mu.Unlock()
		r.closeAll()
	}()
	return nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for r.err == nil {
		n, err := r.readBody(p)
		if n > 0 {
			r.pending = err
			return r.advance(p[:n])
		}
		if err != nil {
			r.err = r.recover(err)
		}
	}
	return 0, r.err
}

// readBody reads from the current source, which it opens if need be.
func (r *reader) readBody(p []byte) (int, error) {
	if err := r.pending; err != nil {
		r.pending = nil
		return 0, err
	}
	if r.kept != nil {
		if n, err := r.kept.Read(p); n > 0 || err == nil {
			return n, nil
		}
		r.kept = nil // At its end, or where it cannot be read, the source goes on.
		if r.n > 0 && r.n == r.blob.Size {
			return 0, io.EOF
		}
	}
	p = r.meet(p)
	if r.body == nil {
		if err := r.open(); err != nil {
			return 0, err
		}
	}
	asked := time.Now()
	n, err := r.body.Read(p)
	if r.line.add(n, asked) {
		r.judge()
	}
	return n, err
}

// open opens the blob where reading is, as a whole if that is at its start.
func (r *reader) open() error {
	r.line = line{from: r.n, asked: time.Now(), alone: r.line.alone, pace: pace{window: r.f.options.Patience}}
	if h := r.f.hostOf(r.images[0]); r.n > 0 && h != nil {
		r.asksForParts(h)
	}
	body, err := r.images[0].source.Open(r.ctx, r.blob.Descriptor, r.n)
	if err == nil {
		r.body = body
	}
	return err
}

// asksForParts notes that a server may have made something else of that.
func (r *reader) asksForParts(h *host) {
	if !slices.Contains(r.parts, h) {
		r.parts = append(r.parts, h)
	}
	r.f.ranged.Store(true)
}

// advance takes data that has arrived.
func (r *reader) advance(p []byte) (int, error) {
	if r.hash != nil {
		r.hash.Write(p)
	}
	r.n += int64(len(p))
	r.f.options.Progress(progress.Event{Kind: progress.Read, Blob: r.blob.Digest, Bytes: len(p)})
	if size := r.blob.Size; size >= 0 && r.n > size {
		r.err = mismatch("it is longer than the %d bytes that its manifest says", size)
		return 0, r.err
	}
	return len(p), nil
}

// recover returns nil if reading can go on after an error.
func (r *reader) recover(err error) error {
	// How an answer ends does not matter once all bytes are there.
	if err == io.EOF || r.n > 0 && r.n == r.blob.Size {
		if r.n >= r.blob.Size && r.hash != nil {
			return verify(r.blob.Digest, r.hash)
		}
		if r.n >= r.blob.Size {
			return io.EOF
		}
		err = fmt.Errorf("it ends after %d of %d bytes: %w", r.n, r.blob.Size, io.ErrUnexpectedEOF)
	}
	inRanges := r.inRanges()
	r.closeBody()
	if cause := context.Cause(r.ctx); cause != nil {
		return cause
	}
	if inRanges { // They have been tried again. The blob's own line goes on.
		return nil
	}
	r.tries.refused(r.f.hostOf(r.images[0]), err)
	if err = r.tries.next(r.ctx, err, r.n-r.line.from, r.n); err == nil {
		return nil
	}
	if len(r.images) > 1 && r.ctx.Err() == nil {
		r.dropHelp()
		r.images = r.images[1:]
		r.tries = newAttempts(r.f, r.blob.Descriptor)
		r.whole = false
		return nil
	}
	return &sourceError{err}
}

// sourceError says that an error is one of a source.
type sourceError struct{ err error }

// Error returns the text.
func (e *sourceError) Error() string { return fmt.Sprintf("%v: %v", ErrSource, e.err) }

// Unwrap returns ErrSource and the source's own error.
func (e *sourceError) Unwrap() []error { return []error{ErrSource, e.err} }

// verify returns io.EOF for a blob that is what its digest says.
func verify(d digest.Digest, h hash.Hash) error {
	if got := digest.NewDigest(d.Algorithm(), h); got != d {
		return mismatch("it has the digest %s instead of %s", got, d)
	}
	return io.EOF
}

func (r *reader) closeBody() {
	if r.inRanges() {
		r.ahead = nil
	}
	if r.body != nil {
		r.body.Close() // It has only been read from.
		r.body = nil
	}
}

// Skip returns body without its first n bytes, for sources that cannot open a
// blob anywhere but at its start. It closes body if it fails; an end before n
// bytes is io.ErrUnexpectedEOF, since there was more before.
func Skip(body io.ReadCloser, n int64) (io.ReadCloser, error) {
	if _, err := io.CopyN(io.Discard, body, n); err != nil {
		body.Close() // It has only been read from.
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return body, nil
}
