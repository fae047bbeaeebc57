package serving

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// maxCheckDelay is how long verifying a blob may wait while others are being sent.
const maxCheckDelay = time.Minute

// blob answers a request for a config or a layer, or ranges of it.
func (s *Server) blob(w http.ResponseWriter, r *request, reference string) {
	d, ok := digestOf(w, r, reference)
	if !ok {
		return
	}
	understandRange(r.Request, math.MaxInt64)
	s.sending.Add(1)
	defer s.sent()
	b, err := s.openBlob(r, d)
	if err != nil {
		s.failReading(w, r, codeBlobUnknown, err)
		return
	}
	defer b.done()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", d.String())
	h.Set("ETag", `"`+d.String()+`"`)
	h.Set("Cache-Control", s.cacheable()+", max-age=31536000, immutable")
	understandRange(r.Request, b.size)
	watched := &watchedReader{ReadSeeker: b.content}
	if stored, ok := b.content.(*stored); ok { // The kernel is to send it, and the errors are the socket's.
		http.ServeContent(w, r.Request, "", time.Time{}, stored)
		watched.err = stored.check()
	} else {
		if strings.Contains(r.Header.Get("Range"), ",") {
			// net/http reads several ranges on a goroutine that may outlive this request, and
			// each range may have the blob unpacked from its beginning.
			r.Header.Del("Range")
		}
		http.ServeContent(w, r.Request, "", time.Time{}, watched)
	}
	if watched.err != nil && r.Context().Err() == nil {
		s.options.Log.Error("blob cannot be read", "archive", printable.String(b.archive), "blob", d, "error", printable.Error(watched.err))
		return // The client knows from the length that it has not got all.
	}
	if r.Method == http.MethodGet && b.unverified != nil {
		s.check(r.view, b.from, b.unverified)
	}
}

// ready is a blob that can be sent.
type ready struct {
	content    io.ReadSeeker
	size       int64
	archive    string // the path, or another name of the source, for the log
	done       func() // must be called after use
	from       *image
	unverified *archive.Blob // to be verified when it has been sent; nil if it is before
}

// cacheable says which caches may keep a blob.
func (s *Server) cacheable() string {
	if s.options.Authorize != nil {
		return "private" // A shared cache would not check who may read it.
	}
	return "public"
}

// openBlob returns the blob of a request.
func (s *Server) openBlob(r *request, d digest.Digest) (*ready, error) {
	own, others := r.view.owners(r.repository, d)
	if len(own)+len(others) > 0 && s.cache != nil {
		if b := s.cached(r, own, d); b != nil {
			return b, nil
		}
	}
	b, img, closeArchive, err := r.view.blob(r.Context(), append(own, others...), d)
	if err != nil {
		return nil, err
	}
	if fetch := fetchFrom(b, img); fetch != nil {
		return s.openElsewhere(r, b, img, closeArchive, fetch)
	}
	content, done, err := openContent(r.Context(), b)
	if err != nil {
		closeArchive()
		return nil, err
	}
	return &ready{content: content, size: b.Size, archive: img.from.path, from: img, unverified: b, done: func() { done(); closeArchive() }}, nil
}

// openContent returns the content of a blob. The caller must call done after using it.
func openContent(ctx context.Context, b *archive.Blob) (content io.ReadSeeker, done func(), err error) {
	section, back := b.Section(), func() {}
	switch {
	case b.IsBorrowed():
		if section, back, err = b.Borrow(ctx); err != nil {
			return nil, nil, err
		}
	case section == nil:
		stream := &streamed{ctx: ctx, blob: b}
		return stream, stream.close, nil
	}
	if stored := newStored(section); stored != nil {
		return stored, func() { stored.close(); back() }, nil
	}
	return section, back, nil
}

// watchedReader remembers why it could not be read.
type watchedReader struct {
	io.ReadSeeker
	err error
}

// expect announces how many bytes will be read.
func (r *watchedReader) expect(n int64) {
	if from, ok := r.ReadSeeker.(expecting); ok {
		from.expect(n)
	}
}

// Read implements io.Reader.
func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.ReadSeeker.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// streamed is a blob that the archive has in another form than the one wanted, such as
// a compressed layer that has to be plain. Reading from the middle reads all before
// it.
type streamed struct {
	ctx    context.Context
	blob   *archive.Blob
	pos    int64
	stream io.ReadCloser // nil before it is read
}

// Seek implements io.Seeker.
func (s *streamed) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.pos
	case io.SeekEnd:
		offset += s.blob.Size
	}
	if offset != s.pos {
		s.close()
		s.pos = offset
	}
	return offset, nil
}

// Read implements io.Reader. The last bytes come only when they are known to be right.
func (s *streamed) Read(p []byte) (int, error) {
	if s.stream == nil {
		stream, err := s.blob.Open(s.ctx)
		if err != nil {
			return 0, err
		}
		s.stream = stream
		if _, err := io.CopyN(io.Discard, stream, s.pos); err != nil {
			return 0, err
		}
	}
	n, err := s.stream.Read(p)
	s.pos += int64(n)
	if err == nil && s.pos == s.blob.Size {
		_, err = io.ReadFull(s.stream, make([]byte, 1))
	}
	if err != nil && err != io.EOF {
		return 0, err
	}
	return n, err
}

func (s *streamed) close() {
	if s.stream != nil {
		_ = s.stream.Close() // It has only been read.
		s.stream = nil
	}
}

// damagedError is the verdict about a blob that does not match its digest.
type damagedError struct{ error }

// Unwrap returns what is wrong with it.
func (e *damagedError) Unwrap() error { return e.error }

// verdicts are the results of verifying the blobs of an archive.
type verdicts struct {
	mu        sync.Mutex
	all       map[digest.Digest]error // nil: nothing is wrong, or not yet found
	suspected map[digest.Digest]bool  // blobs that have come from a store, and were wrong
}

// suspects reports whether a blob has come wrong, so that it is damaged if it is wrong again.
func (v *verdicts) suspects(d digest.Digest) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.suspected[d]
}

// come notes the result of verifying a blob that has come from a store. It returns what to tell clients: a blob may
// be damaged on its way, and is damaged in the archive only if it is wrong again, when it was suspected before the
// request. What damages answers may damage all that are on their way.
func (o *opened) come(d digest.Digest, suspected bool, err error) error {
	v := &o.checked
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case err == nil:
		delete(v.suspected, d)
		return nil
	case v.all[d] != nil:
		return v.all[d]
	case suspected && v.suspected[d]:
		v.setLocked(d, &damagedError{err})
		delete(v.suspected, d)
		return v.all[d]
	}
	if v.suspected == nil {
		v.suspected = map[digest.Digest]bool{}
	}
	v.suspected[d] = true
	o.forget()
	return &storeError{o.path, fmt.Errorf("the blob %s arrived damaged: %w", d, err)}
}

// of returns what is wrong with a blob, as far as that is known.
func (v *verdicts) of(d digest.Digest) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.all[d]
}

// claim reports whether a blob has not been verified, and leaves that to the caller.
func (v *verdicts) claim(d digest.Digest) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.all[d]; ok {
		return false
	}
	if v.all == nil {
		v.all = map[digest.Digest]error{}
	}
	v.all[d] = nil
	return true
}

func (v *verdicts) set(d digest.Digest, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.setLocked(d, err)
}

func (v *verdicts) setLocked(d digest.Digest, err error) {
	if v.all == nil {
		v.all = map[digest.Digest]error{}
	}
	v.all[d] = err
}

// forget takes back a claim.
func (v *verdicts) forget(d digest.Digest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.all, d)
}

// sent notes that a blob is not being sent any more.
func (s *Server) sent() {
	if s.sending.Add(-1) == 0 {
		select {
		case s.quiet <- struct{}{}:
		default:
		}
	}
}

// awaitQuiet waits until no blob is being sent, or until deadline. It returns false if
// the Server is closed before.
func (s *Server) awaitQuiet(deadline time.Time) bool {
	late := time.NewTimer(time.Until(deadline))
	defer late.Stop()
	for s.sending.Load() > 0 {
		select {
		case <-s.quiet:
		case <-late.C:
			return true
		case <-s.ctx.Done():
			return false
		}
	}
	return true
}

// check verifies a blob of an archive once, when a client is known to want it, without
// letting that client wait, or others. It verifies one blob at a time.
func (s *Server) check(view *snapshot, img *image, b *archive.Blob) {
	from, d := img.from, b.Digest
	if b.Section() == nil || !from.checked.claim(d) { // Others are verified when they are sent.
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return
	}
	view.users++
	deadline := time.Now().Add(maxCheckDelay) // It also limits checks that wait for others.
	s.work.Go(func() {
		defer s.release(view)
		select {
		case s.checker <- struct{}{}:
			defer func() { <-s.checker }()
		case <-s.ctx.Done():
			return
		}
		if !s.awaitQuiet(deadline) {
			return
		}
		err := verify(s.ctx, img, d)
		var mismatch *errdef.MismatchError
		switch {
		case errors.As(err, &mismatch):
			from.checked.set(d, &damagedError{err})
		case errors.Is(err, ErrReplaced), tooManyFiles(err):
			from.checked.forget(d) // The next request that sends it may find out.
			return
		}
		if err != nil && s.ctx.Err() == nil {
			s.options.Log.Error("a blob that was sent is damaged", "archive", printable.String(from.path), "blob", d, "error", printable.Error(err))
		}
	})
}

func verify(ctx context.Context, img *image, d digest.Digest) error {
	b, done, err := img.blob(ctx, d)
	if err != nil {
		return err
	}
	defer done()
	stream, err := b.Open(ctx)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, stream)
	return errors.Join(err, stream.Close())
}
