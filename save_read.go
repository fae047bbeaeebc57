package dockerarchive

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/retry"
)

// errSaveSource marks errors of the source, as opposed to those of the archive.
var errSaveSource = errors.New("reading it failed")

// errMismatch marks a blob that is not what its digest says.
var errMismatch = errors.New("digest does not match")

// blobReader reads a blob, resumes it after errors that may pass, goes on with
// the next image that has it after others, and verifies its size and digest.
type blobReader struct {
	ctx    context.Context
	cancel context.CancelFunc
	s      *saver
	blob   *savedBlob
	mu     sync.Mutex // held while reading

	sources []*savedImage // the first of them is being read
	backoff *retry.Backoff
	body    io.ReadCloser
	pending error // of body, after the data that came with it
	n       int64 // bytes that have been returned
	hash    hash.Hash
	err     error // to be returned from now on
}

func newBlobReader(ctx context.Context, s *saver, blob *savedBlob, sources []*savedImage) *blobReader {
	ctx, cancel := context.WithCancel(ctx)
	r := &blobReader{ctx: ctx, cancel: cancel, s: s, blob: blob, sources: sources, backoff: s.retries().Backoff()}
	if algorithm := blob.info.Digest.Algorithm(); algorithm.Available() {
		r.hash = algorithm.Hash()
	} else {
		r.err = fmt.Errorf("its digest %s is of an unknown algorithm", blob.info.Digest)
	}
	return r
}

// close ends reading, and returns the sources that had not failed.
func (r *blobReader) close() []*savedImage {
	r.cancel()
	if r.mu.TryLock() {
		defer r.mu.Unlock()
		r.closeBody()
		return r.sources
	}
	go func() { // A source that does not respect its context is not waited for.
		r.mu.Lock()
		defer r.mu.Unlock()
		r.closeBody()
	}()
	return nil
}

// Read implements io.Reader.
func (r *blobReader) Read(p []byte) (int, error) {
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
func (r *blobReader) readBody(p []byte) (int, error) {
	if err := r.pending; err != nil {
		r.pending = nil
		return 0, err
	}
	if r.body == nil {
		if err := r.open(); err != nil {
			return 0, err
		}
	}
	return r.body.Read(p)
}

// advance takes data that has arrived.
func (r *blobReader) advance(p []byte) (int, error) {
	r.hash.Write(p)
	r.n += int64(len(p))
	r.s.options.Progress.Read(r.blob.info.Digest, len(p))
	if size := r.blob.info.Size; size >= 0 && r.n > size {
		r.err = fmt.Errorf("%w: it is longer than the %d bytes that its manifest says: %w", errSaveSource, size, errMismatch)
		return 0, r.err
	}
	return len(p), nil
}

// recover returns nil if reading can go on after an error.
func (r *blobReader) recover(err error) error {
	if err == io.EOF {
		if size := r.blob.info.Size; r.n >= size {
			return r.verify()
		}
		err = fmt.Errorf("it ends after %d of %d bytes: %w", r.n, r.blob.info.Size, io.ErrUnexpectedEOF)
	}
	r.closeBody()
	if cause := context.Cause(r.ctx); cause != nil {
		return cause
	}
	announce := func(err error) { r.s.options.Progress.Retried(r.blob.info.Digest.String(), err) }
	if err = r.backoff.Next(r.ctx, err, announce); err == nil {
		return nil
	}
	if len(r.sources) > 1 && r.ctx.Err() == nil {
		r.sources = r.sources[1:]
		r.backoff = r.s.retries().Backoff()
		return nil
	}
	return fmt.Errorf("%w: %w", errSaveSource, err)
}

// verify returns io.EOF for a blob that is what its digest says.
func (r *blobReader) verify() error {
	d := r.blob.info.Digest
	if got := digest.NewDigest(d.Algorithm(), r.hash); got != d {
		return fmt.Errorf("%w: it has the digest %s instead of %s: %w", errSaveSource, got, d, errMismatch)
	}
	return io.EOF
}

// open opens the blob at its current source and skips what has been read.
func (r *blobReader) open() error {
	source := r.sources[0]
	if source.serial != nil {
		source.serial.Lock()
	}
	body, _, err := source.src.GetBlob(r.ctx, r.blob.info, none.NoCache)
	if err != nil {
		if source.serial != nil {
			source.serial.Unlock()
		}
		return err
	}
	r.body = body
	if _, err := io.CopyN(io.Discard, body, r.n); err != nil {
		r.closeBody()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

func (r *blobReader) closeBody() {
	if r.body == nil {
		return
	}
	r.body.Close() // It has only been read from.
	r.body = nil
	if serial := r.sources[0].serial; serial != nil {
		serial.Unlock()
	}
}
