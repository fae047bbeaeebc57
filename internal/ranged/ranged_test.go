package ranged

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/retry"
)

// source has content, counts requests and open answers, and breaks some answers off.
type source struct {
	data   []byte
	delay  time.Duration
	breaks int64 // after so many bytes; 0: never

	mu       sync.Mutex
	requests []int64 // bytes that each wants
	open     atomic.Int32
	err      atomic.Pointer[error]
}

func newSource(size int) *source {
	s := &source{data: make([]byte, size)}
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(s.data) // Never fails.
	return s
}

// Range implements Source.
func (s *source) Range(_ context.Context, off, n int64) (io.ReadCloser, error) {
	s.mu.Lock()
	s.requests = append(s.requests, n)
	s.mu.Unlock()
	time.Sleep(s.delay)
	if err := s.err.Load(); err != nil {
		return nil, *err
	}
	s.open.Add(1)
	if s.breaks > 0 {
		n = min(n, s.breaks)
	}
	return &answer{bytes.NewReader(s.data[off:][:n]), s}, nil
}

type answer struct {
	*bytes.Reader
	source *source
}

// Close implements io.Closer.
func (a *answer) Close() error {
	a.source.open.Add(-1)
	return nil
}

func (s *source) reader(t *testing.T) *Reader {
	r := New(t.Context(), s, int64(len(s.data)), retry.Policy{Times: 3, FirstDelay: time.Nanosecond}, nil)
	t.Cleanup(func() {
		require.NoError(t, r.Close())
		assert.Zero(t, s.open.Load(), "answers that are open")
	})
	return r
}

func sequentially(t *testing.T, r *Reader, want []byte, off int64, buffer int) {
	t.Helper()
	section := io.NewSectionReader(r, off, int64(len(want)))
	p := make([]byte, buffer)
	for done := 0; done < len(want); {
		n, err := section.Read(p)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want[done:done+n], p[:n]), "%d bytes at %d", n, off+int64(done))
		done += n
	}
}

// Reading in order takes few requests, however large the buffer is. So does reading several places in turns, and
// reading when answers break off.
func TestInOrder(t *testing.T) {
	const size = 20 << 20
	s := newSource(size)
	for _, buffer := range []int{4 << 10, 100_000, 1 << 20, 7 << 20} {
		s.requests = nil
		sequentially(t, s.reader(t), s.data, 0, buffer)
		assert.LessOrEqual(t, len(s.requests), 12, "%d: %v", buffer, s.requests)
	}
	s.requests, s.breaks = nil, 3<<20
	sequentially(t, s.reader(t), s.data, 0, 32<<10)
	assert.LessOrEqual(t, len(s.requests), 12+size/(3<<20), s.requests)

	s.requests, s.breaks = nil, 0
	r := s.reader(t)
	var group sync.WaitGroup
	for place := range 4 {
		group.Go(func() { sequentially(t, r, s.data[place*size/4:][:size/4], int64(place*size/4), 32<<10) })
	}
	group.Wait()
	assert.LessOrEqual(t, len(s.requests), 4*10, s.requests)
}

// Many readers that want the same bytes at once share one request.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource(1 << 20)
		s.delay = time.Second
		r := s.reader(t)
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() { sequentially(t, r, s.data[5000:][:20_000], 5000, 100) })
		}
		group.Wait()
		assert.Len(t, s.requests, 1)
		assert.Zero(t, s.open.Load())
	})
}

// Reading at scattered places requests little more than is wanted.
func TestHereAndThere(t *testing.T) {
	s := newSource(50 << 20)
	r := s.reader(t)
	p := make([]byte, 3000)
	for n := range 20 {
		off := int64((n*7 + 3) % 20 * (5 << 19))
		_, err := r.ReadAt(p, off)
		require.NoError(t, err)
		require.True(t, bytes.Equal(s.data[off:][:len(p)], p))
	}
	for _, n := range s.requests {
		assert.LessOrEqual(t, n, int64(minWindow))
	}
}

// Reads at any places by any number of readers return the right bytes.
func TestAnywhere(t *testing.T) {
	s := newSource(8 << 20)
	s.breaks = 300_000
	r := s.reader(t)
	var group sync.WaitGroup
	for seed := range uint64(8) {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 1))
			off := 0
			for range 60 {
				if rng.IntN(3) == 0 {
					off = rng.IntN(len(s.data))
				}
				p := make([]byte, 1+rng.IntN(min(len(s.data)-off, 1<<(3+rng.IntN(18)))))
				if _, err := r.ReadAt(p, int64(off)); !assert.NoError(t, err) || !assert.True(t, bytes.Equal(s.data[off:off+len(p)], p), "%d bytes at %d", len(p), off) {
					return
				}
				off = min(off+len(p)+rng.IntN(2)*rng.IntN(5000), len(s.data)-1)
			}
		})
	}
	group.Wait()
}

// If answers break off, the next request follows at once where the last one brought much, and attempts count anew. Where
// it brought little, time passes between, and there is an end to it.
func TestBreaksOff(t *testing.T) {
	const size, times = 8 << 20, 3
	for how, read := range map[string]func(ctx context.Context, r *Reader) error{
		"at places": func(_ context.Context, r *Reader) error {
			_, err := r.ReadAt(make([]byte, size), 0)
			return err
		},
		"in order": func(_ context.Context, r *Reader) error {
			_, err := io.Copy(io.Discard, io.NewSectionReader(r, 0, size))
			return err
		},
		"stream": func(ctx context.Context, r *Reader) error {
			stream, err := r.Stream(ctx, 0, size)
			if err != nil {
				return err
			}
			defer stream.Close()
			_, err = io.Copy(io.Discard, stream)
			return err
		},
	} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSource(size)
				open := func() *Reader {
					r := New(t.Context(), s, size, retry.Policy{Times: times}, nil)
					t.Cleanup(func() { require.NoError(t, r.Close()) })
					return r
				}
				start := time.Now()
				s.breaks = 1 << 20
				require.NoError(t, read(t.Context(), open()))
				assert.Zero(t, time.Since(start), "nothing is waited for")
				s.breaks, s.requests = 1, nil
				require.ErrorIs(t, read(t.Context(), open()), io.ErrUnexpectedEOF)
				assert.Len(t, s.requests, 1+times)
				assert.Greater(t, time.Since(start), 5*time.Second)
			})
		})
	}
}

// An error ends the wait of all who wanted the same bytes. The next one asks anew.
func TestTogetherFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource(1 << 20)
		s.delay = time.Second
		refused := errors.New("refused")
		s.err.Store(&refused)
		r := s.reader(t)
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() {
				_, err := r.ReadAt(make([]byte, 10), 100)
				assert.ErrorIs(t, err, refused)
			})
		}
		group.Wait()
		assert.Len(t, s.requests, 1)
		s.err.Store(nil)
		sequentially(t, r, s.data[100:][:10], 100, 10)
	})
}

// Each read that fails is counted, also of something that is known to be another version. One that ends is not.
func TestFailures(t *testing.T) {
	s := newSource(1000)
	r := s.reader(t)
	for n, err := range []error{errors.New("refused"), ErrChanged} {
		s.err.Store(&err)
		_, got := r.ReadAt(make([]byte, 10), 100)
		require.ErrorIs(t, got, err)
		count, last := r.Failures()
		assert.Equal(t, n+1, count)
		assert.ErrorIs(t, last, err)
	}
	s.err.Store(nil)
	_, err := r.ReadAt(make([]byte, 10), 100)
	require.ErrorIs(t, err, ErrChanged)
	_, err = r.ReadAt(make([]byte, 10), 1000)
	require.ErrorIs(t, err, io.EOF)
	count, _ := r.Failures()
	assert.Equal(t, 3, count)
}
