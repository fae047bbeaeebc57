package fetching_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
)

// server has blobs, and sends them under the clock of the test. It counts what it is asked
// for, and what it sends.
type server struct {
	*source
	host  string
	rate  int           // of each line, in bytes a second; 0 is no limit
	sum   int           // of all lines together, likewise
	late  time.Duration // after which an answer begins
	reads int           // how fast it reads its way to what is asked for; 0 is at once
	fills int           // how fast it fetches all of a blob that it has not from its origin; 0 is a server that has all
	slow  time.Duration // for which a line is ten times as slow at first
	lazy  bool          // it fetches no faster than it sends, but for a range
	fast  bool          // ranges come without any delay
	// prepared, if not nil, is called before ranges are asked for.
	prepared func()
	// answer, if not nil, returns what comes of a range, instead of that.
	answer func(ctx context.Context, data []byte, offset, length int64) (io.Reader, error)

	mu     sync.Mutex
	free   time.Time                   // when all lines together are
	ranges int                         // that were asked for
	sent   int                         // bytes, of blobs and ranges
	origin int                         // bytes that were fetched from the origin
	filled map[digest.Digest]time.Time // when all of a blob is there
	open   int                         // ranges that are
	most   int                         // of these at once
}

func newServer(rate int, blobs ...[]byte) *server {
	return &server{source: newSource(blobs...), host: "example.com", rate: rate, filled: map[digest.Digest]time.Time{}}
}

// Host implements fetching.RangeSource.
func (s *server) Host() string { return s.host }

// Open implements fetching.Source.
func (s *server) Open(ctx context.Context, blob v1.Descriptor, offset int64) (io.ReadCloser, error) {
	body, err := s.source.Open(ctx, blob, offset)
	if err != nil {
		return nil, err
	}
	return s.line(ctx, body, blob, offset, 0)
}

// Prepared implements fetching.RangeSource.
func (s *server) Prepared(context.Context) bool {
	if s.prepared != nil {
		s.prepared()
	}
	return true
}

// OpenRange implements fetching.RangeSource.
func (s *server) OpenRange(ctx context.Context, blob v1.Descriptor, offset, length int64) (io.ReadCloser, error) {
	s.count(func() { s.ranges++ })
	answer := s.answer
	if answer == nil {
		answer = exactly
	}
	r, err := answer(ctx, s.blobs[blob.Digest], offset, length)
	if err != nil {
		return nil, err
	}
	return s.line(ctx, io.NopCloser(r), blob, offset, length)
}

func exactly(_ context.Context, data []byte, offset, length int64) (io.Reader, error) {
	return bytes.NewReader(data[offset : offset+length]), nil
}

func (s *server) count(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// peak returns how many ranges were open at once. The last may still be closing.
func (s *server) peak() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

// line returns what comes of an answer when it comes; length is that of a range, or 0.
func (s *server) line(ctx context.Context, r io.ReadCloser, blob v1.Descriptor, offset, length int64) (io.ReadCloser, error) {
	ranged := length > 0
	l := &serverLine{ReadCloser: r, s: s, ctx: ctx, ranged: ranged, left: length * 3 / 4}
	if !ranged || !s.fast {
		begin := s.late
		if s.reads > 0 {
			begin += time.Duration(offset) * time.Second / time.Duration(s.reads)
		}
		if err := l.wait(begin + s.fill(blob, offset)); err != nil {
			return nil, err
		}
	}
	l.began = time.Now()
	if ranged {
		s.count(func() { s.open++; s.most = max(s.most, s.open) })
	}
	return l, nil
}

// fill returns how long a cache that knows no parts of blobs takes to come to an offset. For
// every request before it has the blob it fetches all of it, also if nobody waits any more.
func (s *server) fill(blob v1.Descriptor, offset int64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	done, ok := s.filled[blob.Digest]
	if s.fills == 0 || ok && !now.Before(done) {
		return 0
	}
	s.origin += int(blob.Size)
	took := func(n int64) time.Duration { return time.Duration(n) * time.Second / time.Duration(s.fills) }
	if own := now.Add(took(blob.Size)); (!s.lazy || offset > 0) && (!ok || own.Before(done)) {
		s.filled[blob.Digest] = own
	}
	return took(offset)
}

type serverLine struct {
	io.ReadCloser
	s      *server
	ctx    context.Context
	ranged bool
	left   int64 // bytes of a range that are left until it does not count as open
	began  time.Time
}

// Read returns at most the bytes of a hundredth of a second.
func (l *serverLine) Read(p []byte) (int, error) {
	s := l.s
	if !l.ranged || !s.fast {
		rate := s.rate
		if time.Since(l.began) < s.slow {
			rate /= 10
		}
		if step := max(rate, s.sum) / 100; step > 0 {
			p = p[:min(len(p), step)]
		}
		n, err := l.ReadCloser.Read(p)
		s.count(func() { s.sent += n })
		l.came(n)
		if waitErr := l.wait(s.delay(n, rate)); waitErr != nil {
			return 0, waitErr
		}
		return n, err
	}
	n, err := l.ReadCloser.Read(p)
	s.count(func() { s.sent += n })
	l.came(n)
	return n, err
}

// delay returns how long n bytes take.
func (s *server) delay(n, rate int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var own, all time.Duration
	if rate > 0 {
		own = time.Duration(n) * time.Second / time.Duration(rate)
	}
	if s.sum > 0 {
		now := time.Now()
		if s.free.Before(now) {
			s.free = now
		}
		s.free = s.free.Add(time.Duration(n) * time.Second / time.Duration(s.sum))
		all = s.free.Sub(now)
	}
	return max(own, all)
}

func (l *serverLine) wait(d time.Duration) error {
	if d == 0 {
		return context.Cause(l.ctx)
	}
	select {
	case <-time.After(d):
		return nil
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	}
}

// came notes bytes that were sent. During the last quarter of a range, the next range may begin.
func (l *serverLine) came(n int) {
	if l.left > 0 {
		if l.left -= int64(n); l.left <= 0 {
			l.s.count(func() { l.s.open-- })
		}
	}
}

// Close implements io.Closer.
func (l *serverLine) Close() error {
	l.came(int(l.left))
	return l.ReadCloser.Close()
}

// random returns bytes that are different at every offset.
func random(n int) []byte {
	data := make([]byte, n)
	source := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	_, _ = source.Read(data)
	return data
}

// fetched fetches the blobs of a server, all that are given, and returns how long it took.
// They are what they should be.
func fetched(t *testing.T, s *server, jobs, rangeSize int, blobs ...[]byte) time.Duration {
	t.Helper()
	var st store
	o := retrying(st.options(), 3)
	o.Jobs, o.RangeSize = jobs, rangeSize
	f := fetching.New(o)
	img := f.AddImage(s, "", wrapped("x"))
	for _, b := range blobs {
		f.Need(img, descriptor(b))
	}
	start := time.Now()
	require.NoError(t, run(t.Context(), f, f.Blobs()))
	took := time.Since(start)
	synctest.Wait() // For goroutines that are still closing their requests.
	for _, b := range blobs {
		require.Equal(t, digest.FromBytes(b), digest.FromBytes(st.blobs[descriptor(b).Digest]))
	}
	return took
}

// fetchedInTurn fetches one blob after the other. They are what they should be.
func fetchedInTurn(t *testing.T, s *server, o fetching.Options, blobs ...[]byte) {
	t.Helper()
	o.Store = func(_ context.Context, b *fetching.Blob, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err == nil && digest.FromBytes(data) != b.Digest {
			err = errors.New("another blob")
		}
		return err
	}
	f := fetching.New(o)
	img := f.AddImage(s, "", wrapped("x"))
	for _, b := range blobs {
		f.Need(img, descriptor(b))
	}
	for _, b := range f.Blobs() {
		require.NoError(t, run(t.Context(), f, []*fetching.Blob{b}))
		require.NoError(t, b.Await(t.Context()))
	}
	synctest.Wait()
}
