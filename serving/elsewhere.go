package serving

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/blobcache"
	"github.com/dockerarchive/dockerarchive/internal/webclient"
)

const (
	// maxAlone is the size in bytes from which on a range makes the cache fetch the whole blob. Programs that pull
	// lazily want smaller ranges, of a few files.
	maxAlone = 4 << 20
	// maxAhead bounds the bytes that a client waits for: one that wants a place further ahead of a running fetch gets
	// a request of its own.
	maxAhead = 256 << 20
)

// fetcher requests n bytes of a blob from a store, from an offset on.
type fetcher func(ctx context.Context, off, n int64) (io.ReadCloser, error)

// fetchFrom returns the fetcher of a blob in a store, nil if the blob is in a local file.
func fetchFrom(b *archive.Blob, img *image) fetcher {
	if b.IsBorrowed() || !img.from.elsewhere() {
		return nil
	}
	section := b.Section()
	if section == nil { // The archive has the blob in another form.
		return func(ctx context.Context, off, _ int64) (io.ReadCloser, error) {
			stream, err := b.Open(ctx)
			if err != nil {
				return nil, err
			}
			if _, err := io.CopyN(io.Discard, stream, off); err != nil {
				return nil, errors.Join(err, stream.Close())
			}
			return stream, nil
		}
	}
	outer, start, size := section.Outer()
	from, ok := outer.(interface {
		Stream(ctx context.Context, off, n int64) (io.ReadCloser, error)
	})
	if !ok {
		return nil // The archive has been copied to a temporary file.
	}
	return func(ctx context.Context, off, n int64) (io.ReadCloser, error) {
		if size != b.Size {
			return nil, errdef.Errorf(errdef.ErrDamaged, "the archive has %d bytes of a blob of %d", size, b.Size)
		}
		return from.Stream(ctx, start+off, n)
	}
}

// wanted returns the range of a blob that a request wants: the whole blob if it wants several ranges.
func wanted(r *http.Request, size int64) (off, n int64) {
	asked, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	if !ok || strings.Contains(asked, ",") {
		return 0, size
	}
	from, to, _ := strings.Cut(asked, "-")
	if from == "" {
		n = min(number(to, 0), size)
		return size - n, n
	}
	off = min(number(from, 0), size)
	return off, min(number(to, size-1), size-1) + 1 - off
}

// openElsewhere returns a blob of a store: from the cache, or as it arrives. It calls closeArchive when the blob is
// not needed any more, or if it fails.
func (s *Server) openElsewhere(r *request, b *archive.Blob, img *image, closeArchive func(), fetch fetcher) (*ready, error) {
	out := &ready{size: b.Size, archive: img.from.path, done: closeArchive}
	explained := func(ctx context.Context, off, n int64) (io.ReadCloser, error) {
		body, err := fetch(webclient.WithMeter(ctx, s.stores.meter), off, n)
		if err != nil {
			return nil, img.from.explain(err)
		}
		return body, nil
	}
	off, n := wanted(r.Request, b.Size)
	passed := &passing{ctx: r.Context(), fetch: explained, blob: b, from: img.from}
	out.content = passed
	if r.Method != http.MethodGet || n <= 0 {
		return out, nil
	}
	if s.cache != nil && (n >= maxAlone || n == b.Size) {
		kept, err := s.cache.Fetch(r.Context(), b.Digest, b.Size, img.from, s.fetchWhole(img, b.Digest))
		switch {
		case errors.Is(err, blobcache.ErrNoRoom), errors.Is(err, blobcache.ErrOther), errors.Is(err, blobcache.ErrDisk):
			s.noteDisk(err)
		case err != nil:
			closeArchive()
			return nil, err
		case kept.File() == nil && off > kept.Come()+maxAhead:
			_ = kept.Close() // The fetch goes on without this client.
		default:
			s.follow(out, kept, passed)
			return out, nil
		}
	}
	if err := passed.begin(off, n); err != nil {
		closeArchive()
		return nil, err
	}
	out.done = func() { passed.close(); closeArchive() }
	return out, nil
}

// fetchWhole returns a function that opens a whole blob for the cache, independently of the client that asks.
func (s *Server) fetchWhole(img *image, d digest.Digest) func(context.Context) (io.ReadCloser, error) {
	return func(ctx context.Context) (io.ReadCloser, error) {
		ctx = webclient.WithMeter(ctx, s.stores.meter)
		suspected := img.from.checked.suspects(d)
		b, done, err := img.blob(ctx, d)
		if err != nil {
			return nil, img.from.judge(d, suspected, err)
		}
		var body io.ReadCloser
		if fetch := fetchFrom(b, img); fetch != nil {
			body, err = fetch(ctx, 0, b.Size)
		} else { // The archive has been copied to a local file meanwhile.
			body, err = b.Open(ctx)
		}
		if err != nil {
			done()
			return nil, img.from.judge(d, suspected, img.from.explain(err))
		}
		return &explainedBody{body, img.from, d, suspected, done}, nil
	}
}

// judge returns what to tell clients of an error of a blob that comes from a store.
func (o *opened) judge(d digest.Digest, suspected bool, err error) error {
	if errors.Is(err, blobcache.ErrWrong) || errors.Is(err, errdef.ErrDamaged) {
		return o.come(d, suspected, err)
	}
	return err
}

// explainedBody is a blob from an archive, with errors of opened.explain.
type explainedBody struct {
	io.ReadCloser
	from      *opened
	digest    digest.Digest
	suspected bool // before the request
	done      func()
}

// Verified implements blobcache.Judge.
func (b *explainedBody) Verified(err error) error { return b.from.come(b.digest, b.suspected, err) }

// Read implements io.Reader.
func (b *explainedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = b.from.judge(b.digest, b.suspected, b.from.explain(err))
	}
	return n, err
}

// Close implements io.Closer.
func (b *explainedBody) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}

// cached returns a blob that is in the cache, or arriving from the archive that would be asked, and worth waiting for;
// else nil.
func (s *Server) cached(r *request, owners []*image, d digest.Digest) *ready {
	// Another archive that names the repository must not make clients wait for it.
	var origin any
	if i := slices.IndexFunc(owners, func(img *image) bool { return img.from.checked.of(d) == nil }); i >= 0 {
		origin = owners[i].from
	}
	b, err := s.cache.Get(r.Context(), d, origin)
	if err != nil {
		s.noteDisk(err)
		return nil // The archive may have it.
	}
	if b == nil {
		return nil
	}
	if off, n := wanted(r.Request, b.Size()); b.File() == nil && (off > b.Come()+maxAhead || n < maxAlone && off+n > b.Come()) {
		_ = b.Close() // It is too far away for this client.
		return nil
	}
	out := &ready{size: b.Size(), archive: "cache", done: func() {}}
	s.follow(out, b, nil)
	return out
}

// follow makes out send a blob of the cache. If the cache fails, out sends instead, unless that is nil.
func (s *Server) follow(out *ready, b *blobcache.Blob, instead *passing) {
	done := out.done
	out.done = func() {
		_ = b.Close() // It was only read.
		if instead != nil {
			instead.close()
		}
		done()
	}
	if f := b.File(); f != nil {
		stored := newStored(io.NewSectionReader(f, 0, b.Size()))
		out.content = stored
		out.done = func() { stored.close(); _ = b.Close(); done() }
		return
	}
	out.content = &following{Blob: b, instead: instead, note: s.noteDisk}
}

// following is a blob that the cache is fetching.
type following struct {
	*blobcache.Blob
	instead *passing
	note    func(error)
	expects int64
	failed  bool
}

func (f *following) expect(n int64) { f.expects = n }

// Read implements io.Reader.
func (f *following) Read(p []byte) (int, error) {
	if !f.failed {
		n, err := f.Blob.Read(p)
		f.expects -= int64(n)
		if n > 0 || !errors.Is(err, blobcache.ErrDisk) || f.instead == nil {
			return n, err
		}
		f.note(err)
		pos, _ := f.Blob.Seek(0, io.SeekCurrent) // Never fails.
		_, _ = f.instead.Seek(pos, io.SeekStart)
		f.instead.expect(f.expects)
		f.failed = true
	}
	return f.instead.Read(p)
}

// noteDisk logs that the directory of the cache fails.
func (s *Server) noteDisk(err error) {
	if errors.Is(err, blobcache.ErrDisk) {
		s.options.Log.Error("the cache fails", "error", err)
	}
}

// passing passes a blob on as it arrives from a store. If a client reads all of it in order, passing verifies it, and
// hands out the last bytes only if it is right.
type passing struct {
	ctx      context.Context
	fetch    fetcher
	blob     *archive.Blob
	from     *opened
	pos      int64
	expected int64 // how many bytes will be read from pos on
	stream   io.ReadCloser
	at       int64 // the offset of the stream
	verifier digest.Verifier
	// suspected is whether the blob had come wrong before the stream was requested.
	suspected bool
}

// begin requests n bytes at an offset.
func (p *passing) begin(off, n int64) (err error) {
	p.pos, p.expected = off, n
	return p.open()
}

func (p *passing) open() (err error) {
	p.close()
	n := p.blob.Size - p.pos
	if p.expected > 0 {
		n = min(n, p.expected)
	}
	p.verifier = nil
	if p.pos == 0 && n == p.blob.Size {
		p.verifier = p.blob.Digest.Verifier()
	}
	p.suspected = p.from.checked.suspects(p.blob.Digest)
	if p.stream, err = p.fetch(p.ctx, p.pos, n); err != nil {
		p.stream = nil
	}
	p.at = p.pos
	return err
}

// expect says how many bytes will be read from here on.
func (p *passing) expect(n int64) { p.expected = n }

// Seek implements io.Seeker.
func (p *passing) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += p.pos
	case io.SeekEnd:
		offset += p.blob.Size
	}
	if offset < 0 {
		return 0, errors.New("negative offset")
	}
	p.pos = offset
	return offset, nil
}

// Read implements io.Reader.
func (p *passing) Read(data []byte) (int, error) {
	if p.pos >= p.blob.Size {
		return 0, io.EOF
	}
	if p.stream == nil || p.at != p.pos {
		if err := p.open(); err != nil {
			return 0, err
		}
	}
	n, err := p.stream.Read(data)
	p.pos += int64(n)
	p.at = p.pos
	if p.verifier != nil {
		_, _ = p.verifier.Write(data[:n]) // Never fails.
		if p.pos == p.blob.Size {
			var wrong error
			if !p.verifier.Verified() {
				wrong = fmt.Errorf("%w: the blob does not match its digest", errdef.ErrDamaged)
			}
			if said := p.from.come(p.blob.Digest, p.suspected, wrong); said != nil {
				return 0, said
			}
		}
	}
	if err == io.EOF && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (p *passing) close() {
	if p.stream != nil {
		_ = p.stream.Close() // It was only read.
		p.stream = nil
	}
}
