package fetching_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/retry"
)

// rangedSource gives ranges too.
type rangedSource struct {
	*source
	// answer returns what comes of a range.
	answer func(ctx context.Context, data []byte, offset, length int64) (io.Reader, error)

	ranges  atomic.Int64 // that were asked for
	sent    atomic.Int64 // bytes of them
	mu      sync.Mutex
	current int // ranges that are open
	most    int
}

func newRangedSource(blobs ...[]byte) *rangedSource {
	return &rangedSource{source: newSource(blobs...), answer: exactly}
}

func exactly(_ context.Context, data []byte, offset, length int64) (io.Reader, error) {
	return bytes.NewReader(data[offset : offset+length]), nil
}

func (s *rangedSource) OpenRange(ctx context.Context, blob v1.Descriptor, offset, length int64) (io.ReadCloser, error) {
	s.ranges.Add(1)
	r, err := s.answer(ctx, s.blobs[blob.Digest], offset, length)
	if err != nil {
		return nil, err
	}
	s.count(1)
	return &rangeBody{r, s}, nil
}

func (s *rangedSource) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current += n
	s.most = max(s.most, s.current)
}

// peak returns how many ranges were open at once. The last may still be closing.
func (s *rangedSource) peak() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

type rangeBody struct {
	io.Reader
	s *rangedSource
}

func (b *rangeBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.s.sent.Add(int64(n))
	return n, err
}

func (b *rangeBody) Close() error {
	b.s.count(-1)
	return nil
}

// random returns bytes that are different at every offset.
func random(n int) []byte {
	data := make([]byte, n)
	source := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = source.Read(data)
	return data
}

// Law 1: in ranges come the bytes that come without, and never more of them at once
// than there are jobs.
func TestRanges(t *testing.T) {
	for _, jobs := range []int{1, 2, 6, 40} {
		for _, size := range []int{1, 99, 100, 101, 199, 200, 12345} {
			one, two := random(size), random(size+1)
			src := newRangedSource(one, two)
			var s store
			o := s.options()
			o.Jobs, o.RangeSize = jobs, 100
			f := fetching.New(o)
			img := f.AddImage(src, "", wrapped("x"))
			f.Need(img, descriptor(one))
			f.Need(img, descriptor(two))
			require.NoError(t, run(t.Context(), f, f.Blobs()))
			assert.Equal(t, one, s.blobs[descriptor(one).Digest])
			assert.Equal(t, two, s.blobs[descriptor(two).Digest])
			if size > 100 {
				assert.Empty(t, src.opens)
				assert.EqualValues(t, 2*size+1, src.sent.Load())
			}
			assert.LessOrEqual(t, src.peak(), max(jobs, 2)+1)
		}
	}
}

// Law 6: many jobs have smaller ranges, so that they take no more memory than few.
func TestRangesOfManyJobs(t *testing.T) {
	const memory = 33 << 20
	blob := random(4 << 20)
	for _, jobs := range []int{1, 6, 50, 200, 100_000} {
		var s store
		o := s.options()
		o.Jobs = jobs
		f := fetching.New(o)
		src := newRangedSource(blob)
		var first atomic.Int64
		src.answer = func(ctx context.Context, data []byte, offset, length int64) (io.Reader, error) {
			first.CompareAndSwap(0, length)
			return exactly(ctx, data, offset, length)
		}
		f.Need(f.AddImage(src, "", wrapped("x")), descriptor(blob))
		require.NoError(t, run(t.Context(), f, f.Blobs()))
		assert.Equal(t, blob, s.blobs[descriptor(blob).Digest])
		assert.Equal(t, jobs <= 6, first.Load() == fetching.RangeSize, jobs)
		assert.True(t, first.Load()*int64(jobs+16) <= memory || first.Load() == 128<<10, jobs)
	}
}

// One blob over lines of a limited speed takes as long as its part of each.
func TestRangesShareTheLines(t *testing.T) {
	const size, jobs = 60 << 10, 6
	for _, ranged := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			blob := random(size)
			src := newRangedSource(blob)
			src.answer = func(_ context.Context, data []byte, offset, length int64) (io.Reader, error) {
				if !ranged {
					return nil, fetching.ErrNoRanges
				}
				time.Sleep(time.Duration(length) * time.Millisecond)
				return bytes.NewReader(data[offset : offset+length]), nil
			}
			src.fail = func(int64) (int64, error) { time.Sleep(size * time.Millisecond); return size, nil }
			var s store
			o := s.options()
			o.Jobs, o.RangeSize = jobs, 1<<10
			f := fetching.New(o)
			f.Need(f.AddImage(src, "", wrapped("x")), descriptor(blob))
			start := time.Now()
			require.NoError(t, run(t.Context(), f, f.Blobs()))
			took := time.Since(start)
			assert.Equal(t, blob, s.blobs[descriptor(blob).Digest])
			if ranged {
				assert.Less(t, took, size*time.Millisecond/jobs*5/4)
			} else {
				assert.Equal(t, size*time.Millisecond, took)
			}
		})
	}
}

// A line that breaks every so often costs no byte twice.
func TestRangesGoOnWhereTheyBroke(t *testing.T) {
	for _, every := range []int64{7, 64, 99, 1000} {
		blob := random(12345)
		src := newRangedSource(blob)
		src.answer = func(_ context.Context, data []byte, offset, length int64) (io.Reader, error) {
			if length <= every {
				return bytes.NewReader(data[offset : offset+length]), nil
			}
			return io.MultiReader(bytes.NewReader(data[offset:offset+every]), iotest.ErrReader(io.ErrUnexpectedEOF)), nil
		}
		var s store
		o := retrying(s.options(), 2000)
		o.Jobs, o.RangeSize = 4, 100
		f := fetching.New(o)
		f.Need(f.AddImage(src, "", wrapped("x")), descriptor(blob))
		require.NoError(t, run(t.Context(), f, f.Blobs()))
		assert.Equal(t, blob, s.blobs[descriptor(blob).Digest])
		assert.EqualValues(t, len(blob), src.sent.Load())
		assert.Empty(t, src.opens)
	}
}

// Whoever brings a good part of a range before it breaks is asked for the rest at once,
// however often; who does not is waited for, and only so often.
func TestRangesAreAskedForAgainAtOnce(t *testing.T) {
	for every, waits := range map[int64]bool{24: true, 25: false, 99: false, 250: false} {
		synctest.Test(t, func(t *testing.T) {
			blob := random(4000)
			src := newRangedSource(blob)
			src.answer = func(_ context.Context, data []byte, offset, length int64) (io.Reader, error) {
				if length <= every {
					return bytes.NewReader(data[offset : offset+length]), nil
				}
				return io.MultiReader(bytes.NewReader(data[offset:offset+every]), iotest.ErrReader(io.ErrUnexpectedEOF)), nil
			}
			var s store
			o := s.options()
			o.RangeSize = 100
			o.Backoff = retry.Policy{Times: 2}.Backoff
			f := fetching.New(o)
			f.Need(f.AddImage(src, "", wrapped("x")), descriptor(blob))
			start := time.Now()
			err := run(t.Context(), f, f.Blobs())
			if waits {
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
				assert.Greater(t, time.Since(start), time.Second)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, blob, s.blobs[descriptor(blob).Digest])
			assert.Zero(t, time.Since(start))
		})
	}
}

// Where ranges are refused or no good, the blob is read as a whole. Of what may pass
// there is an error in the end.
func TestRangesThatAreNoGood(t *testing.T) {
	blob := random(2000)
	for name, c := range map[string]struct {
		answer func(data []byte, offset, length int64) (io.Reader, error)
		err    error
	}{
		"refused": {func([]byte, int64, int64) (io.Reader, error) { return nil, fetching.ErrNoRanges }, nil},
		"refused later": {func(data []byte, offset, length int64) (io.Reader, error) {
			if offset > 500 {
				return nil, fetching.ErrNoRanges
			}
			return bytes.NewReader(data[offset : offset+length]), nil
		}, nil},
		"failing for good": {func([]byte, int64, int64) (io.Reader, error) { return nil, errLost }, nil},
		"all from there":   {func(data []byte, offset, _ int64) (io.Reader, error) { return bytes.NewReader(data[offset:]), nil }, nil},
		"all of it":        {func(data []byte, _, _ int64) (io.Reader, error) { return bytes.NewReader(data), nil }, nil},
		"another blob's": {func(_ []byte, offset, length int64) (io.Reader, error) {
			return bytes.NewReader(random(4000)[offset : offset+length]), nil
		}, nil},
		"another blob's later": {func(data []byte, offset, length int64) (io.Reader, error) {
			if offset > 1000 {
				data = random(4000)
			}
			return bytes.NewReader(data[offset : offset+length]), nil
		}, nil},
		"another range": {func(data []byte, _, length int64) (io.Reader, error) {
			return bytes.NewReader(data[:length]), nil
		}, nil},
		"nothing": {func([]byte, int64, int64) (io.Reader, error) { return bytes.NewReader(nil), nil }, io.ErrUnexpectedEOF},
		"breaking": {func([]byte, int64, int64) (io.Reader, error) {
			return iotest.ErrReader(io.ErrUnexpectedEOF), nil
		}, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			src := newRangedSource(blob)
			src.answer = func(_ context.Context, data []byte, offset, length int64) (io.Reader, error) {
				return c.answer(data, offset, length)
			}
			var s store
			o := retrying(s.options(), 2)
			o.Jobs, o.RangeSize = 4, 100
			f := fetching.New(o)
			f.Need(f.AddImage(src, "", wrapped("x")), descriptor(blob))
			err := run(t.Context(), f, f.Blobs())
			require.ErrorIs(t, err, c.err)
			if c.err == nil {
				assert.Equal(t, blob, s.blobs[descriptor(blob).Digest])
				assert.Len(t, src.opens, 1)
			} else {
				assert.Empty(t, src.opens)
			}
		})
	}
}

// From whichever of its bytes on a source does something else than it is asked for: the
// blob is right, or there is an error that says why.
func TestRangesAreWrongFromAnywhere(t *testing.T) {
	blob, other := random(2000), random(2001)
	for name, c := range map[string]struct {
		answer func(offset, length int64) (io.Reader, error)
		err    error
	}{
		"fails":  {func(int64, int64) (io.Reader, error) { return nil, errLost }, nil},
		"breaks": {func(int64, int64) (io.Reader, error) { return iotest.ErrReader(io.ErrUnexpectedEOF), nil }, io.ErrUnexpectedEOF},
		"too little": {func(offset, length int64) (io.Reader, error) {
			return bytes.NewReader(blob[offset : offset+(length+1)/2]), nil
		}, nil},
		"nothing":  {func(int64, int64) (io.Reader, error) { return bytes.NewReader(nil), nil }, io.ErrUnexpectedEOF},
		"too much": {func(offset, _ int64) (io.Reader, error) { return bytes.NewReader(append(blob[offset:], 0)), nil }, nil},
		"another blob": {func(offset, length int64) (io.Reader, error) {
			return bytes.NewReader(other[offset : offset+length]), nil
		}, nil},
		"another range":   {func(_, length int64) (io.Reader, error) { return bytes.NewReader(blob[:length]), nil }, nil},
		"the whole of it": {func(int64, int64) (io.Reader, error) { return bytes.NewReader(blob), nil }, nil},
		"refuses":         {func(int64, int64) (io.Reader, error) { return nil, fetching.ErrNoRanges }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for position := int64(0); position < 2000; position += 10 {
				src := newRangedSource(blob)
				src.answer = func(ctx context.Context, data []byte, offset, length int64) (io.Reader, error) {
					if offset+length > position {
						return c.answer(offset, length)
					}
					return exactly(ctx, data, offset, length)
				}
				var s store
				o := retrying(s.options(), 20)
				o.Jobs, o.RangeSize = 4, 100
				f := fetching.New(o)
				f.Need(f.AddImage(src, "", wrapped("x")), descriptor(blob))
				err := run(t.Context(), f, f.Blobs())
				require.ErrorIs(t, err, c.err, "%d", position)
				if err == nil {
					require.Equal(t, blob, s.blobs[descriptor(blob).Digest], "%d", position)
				}
			}
		})
	}
}

// A source that has no ranges of one blob is not asked for those of others.
func TestRangesAreAskedForOnce(t *testing.T) {
	src := newRangedSource(random(1000), random(2000), random(3000))
	src.answer = func(context.Context, []byte, int64, int64) (io.Reader, error) { return nil, fetching.ErrNoRanges }
	var s store
	o := s.options()
	o.RangeSize = 100
	f := fetching.New(o)
	img := f.AddImage(src, "", wrapped("x"))
	for _, n := range []int{1000, 2000, 3000} {
		f.Need(img, descriptor(random(n)))
	}
	require.NoError(t, run(t.Context(), f, f.Blobs()))
	assert.EqualValues(t, 1, src.ranges.Load())
	assert.Len(t, src.opens, 3)
}

// A source that has too many requests gets fewer at once.
func TestRangesOfABusySource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errBusy := errors.New("too many requests")
		blob := random(20000)
		src := newRangedSource(blob)
		var refused, late atomic.Int64
		src.answer = func(ctx context.Context, data []byte, offset, length int64) (io.Reader, error) {
			now := late.Add(1)
			defer late.Add(-1)
			time.Sleep(time.Second)
			if now > 2 {
				refused.Add(1)
				return nil, &busy{errBusy}
			}
			return exactly(ctx, data, offset, length)
		}
		var s store
		o := retrying(s.options(), 20)
		o.Jobs, o.RangeSize = 8, 100
		o.Busy = func(err error) bool { return errors.Is(err, errBusy) }
		f := fetching.New(o)
		f.Need(f.AddImage(src, "", wrapped("x")), descriptor(blob))
		// With eight lines to the end, a range would be refused more often than it may be.
		require.NoError(t, run(t.Context(), f, f.Blobs()))
		assert.Equal(t, blob, s.blobs[descriptor(blob).Digest])
		assert.Positive(t, refused.Load())
	})
}

type busy struct{ error }

func (b *busy) Unwrap() error             { return b.error }
func (b *busy) RetryAfter() time.Duration { return time.Second }

// Law 8: the context ends ranges wherever they are, and nothing stays behind; so does
// whoever wants no more of the blob.
func TestRangesEnd(t *testing.T) {
	blob := random(20000)
	for i := range 200 {
		for _, cancelled := range []bool{true, false} { // The context, or Store fails.
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				src := newRangedSource(blob)
				var answers atomic.Int64
				src.answer = func(ctx context.Context, data []byte, offset, length int64) (io.Reader, error) {
					if cancelled && answers.Add(1) == int64(i) {
						cancel()
					}
					if answers.Load()%3 == 0 { // A line that hangs until it is hung up.
						<-time.After(time.Second)
						if ctx.Err() != nil {
							return nil, context.Cause(ctx)
						}
					}
					return exactly(ctx, data, offset, length)
				}
				var s store
				o := s.options()
				o.Jobs, o.RangeSize = 4, 100
				errFull := errors.New("full")
				if !cancelled {
					o.Store = func(_ context.Context, _ *fetching.Blob, r io.Reader) error {
						_, err := io.CopyN(io.Discard, r, int64(i)*90)
						return errors.Join(err, errFull)
					}
				}
				f := fetching.New(o)
				f.Need(f.AddImage(src, "", wrapped("x")), descriptor(blob))
				err := run(ctx, f, f.Blobs())
				if cancelled && i > 0 && (i < 100 || err != nil) { // At the end all may have come before it is heard of.
					require.ErrorIs(t, err, context.Canceled)
				} else if !cancelled {
					require.ErrorIs(t, err, errFull)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				assert.Zero(t, src.current, "ranges that are open")
			})
		}
	}
}
