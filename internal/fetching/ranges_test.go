package fetching_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/retry"
)

// newRangedServer returns a server whose lines bring a kilobyte a second, and ranges at
// once, so that help is welcome.
func newRangedServer(blobs ...[]byte) *server {
	s := newServer(1000, blobs...)
	s.fast = true
	return s
}

// Law 1: in ranges come the bytes that come without, and never more of them at once
// than there are jobs.
func TestRanges(t *testing.T) {
	for _, jobs := range []int{1, 2, 6, 40} {
		for _, size := range []int{1, 99, 100, 101, 199, 200, 2345, 12345} {
			synctest.Test(t, func(t *testing.T) {
				one, two := random(size), random(size+1)
				src := newRangedServer(one, two)
				fetched(t, src, jobs, 100, one, two)
				// While all help one blob, the other goes on without ranges.
				assert.LessOrEqual(t, len(src.opens), 3)
				assert.Equal(t, 2*size+1+100*(len(src.opens)-2), src.sent)
				assert.LessOrEqual(t, src.peak(), max(jobs, 2)+1)
				assert.Equal(t, size > 2000 && jobs > 2, src.ranges > 0)
			})
		}
	}
}

// Law 6: many jobs have smaller ranges, so that they take no more memory than few.
func TestRangesOfManyJobs(t *testing.T) {
	const memory = 33 << 20
	blob := random(16 << 20)
	for _, jobs := range []int{2, 6, 50, 200, 100_000} {
		synctest.Test(t, func(t *testing.T) {
			src := newServer(4<<20, blob)
			var largest atomic.Int64
			src.answer = func(ctx context.Context, data []byte, offset, length int64) (io.Reader, error) {
				largest.Store(max(largest.Load(), length))
				return exactly(ctx, data, offset, length)
			}
			fetched(t, src, jobs, 0, blob)
			assert.Equal(t, jobs <= 6, largest.Load() >= fetching.RangeSize, jobs)
			assert.True(t, largest.Load()*int64(jobs+16) <= memory || largest.Load() == 128<<10, jobs)
		})
	}
}

// breaking answers with so many bytes of a range, after the first.
func breaking(every int64) func(context.Context, []byte, int64, int64) (io.Reader, error) {
	var asked atomic.Int64
	return func(_ context.Context, data []byte, offset, length int64) (io.Reader, error) {
		if length <= every || asked.Add(1) == 1 {
			return bytes.NewReader(data[offset : offset+length]), nil
		}
		return io.MultiReader(bytes.NewReader(data[offset:offset+every]), iotest.ErrReader(io.ErrUnexpectedEOF)), nil
	}
}

// A line that breaks every so often costs no byte twice.
func TestRangesGoOnWhereTheyBroke(t *testing.T) {
	for _, every := range []int64{7, 64, 99, 1000} {
		synctest.Test(t, func(t *testing.T) {
			blob := random(12345)
			src := newRangedServer(blob)
			src.answer = breaking(every)
			var s store
			o := retrying(s.options(), 2000)
			o.Jobs, o.RangeSize = 4, 100
			f := fetching.New(o)
			f.Need(f.AddImage(src, "", wrapped("x")), descriptor(blob))
			require.NoError(t, run(t.Context(), f, f.Blobs()))
			synctest.Wait()
			assert.Equal(t, blob, s.blobs[descriptor(blob).Digest])
			assert.Equal(t, len(blob), src.sent)
			assert.Len(t, src.opens, 1)
			assert.Greater(t, src.ranges, 50)
		})
	}
}

// A source that brings a good part of a range before it breaks is asked for the rest at
// once, however often. With one that does not, there is a wait, and only so many attempts.
func TestRangesAreAskedForAgainAtOnce(t *testing.T) {
	for every, waits := range map[int64]bool{24: true, 25: false, 99: false, 250: false} {
		synctest.Test(t, func(t *testing.T) {
			blob := random(4000)
			src := newRangedServer(blob)
			src.answer = breaking(every)
			var s store
			o := s.options()
			o.Jobs, o.RangeSize = 2, 100
			o.Backoff = retry.Policy{Times: 2}.Backoff
			f := fetching.New(o)
			f.Need(f.AddImage(src, "", wrapped("x")), descriptor(blob))
			start := time.Now()
			require.NoError(t, run(t.Context(), f, f.Blobs()))
			assert.Equal(t, blob, s.blobs[descriptor(blob).Digest])
			assert.Equal(t, waits, time.Since(start) > 2*time.Second, "%v", time.Since(start))
		})
	}
}

// A blob's own line that breaks goes on at once if it has brought something.
func TestOwnLineGoesOnAtOnce(t *testing.T) {
	for every, waits := range map[int64]bool{24: true, 25: false} {
		synctest.Test(t, func(t *testing.T) {
			blob := random(1000)
			src := newSource(blob)
			src.fail = func(offset int64) (int64, error) {
				if offset+every >= int64(len(blob)) {
					return every, nil
				}
				return every, io.ErrUnexpectedEOF
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

// Where ranges are refused or no good, from whichever of its bytes on, the blob is read as
// a whole, and right.
func TestRangesAreWrongFromAnywhere(t *testing.T) {
	blob, other := random(2000), random(2001)
	for name, answer := range map[string]func(offset, length int64) (io.Reader, error){
		"fails":  func(int64, int64) (io.Reader, error) { return nil, errLost },
		"breaks": func(int64, int64) (io.Reader, error) { return iotest.ErrReader(io.ErrUnexpectedEOF), nil },
		"too little": func(offset, length int64) (io.Reader, error) {
			return bytes.NewReader(blob[offset : offset+(length+1)/2]), nil
		},
		"nothing":  func(int64, int64) (io.Reader, error) { return bytes.NewReader(nil), nil },
		"too much": func(offset, _ int64) (io.Reader, error) { return bytes.NewReader(append(blob[offset:], 0)), nil },
		"another blob": func(offset, length int64) (io.Reader, error) {
			return bytes.NewReader(other[offset : offset+length]), nil
		},
		"another range":   func(_, length int64) (io.Reader, error) { return bytes.NewReader(blob[:length]), nil },
		"the whole of it": func(int64, int64) (io.Reader, error) { return bytes.NewReader(blob), nil },
		"refuses":         func(int64, int64) (io.Reader, error) { return nil, fetching.ErrNoRanges },
	} {
		t.Run(name, func(t *testing.T) {
			for position := range int64(30) {
				synctest.Test(t, func(t *testing.T) {
					src := newRangedServer(blob)
					var asked atomic.Int64
					src.answer = func(ctx context.Context, data []byte, offset, length int64) (io.Reader, error) {
						if asked.Add(1) > position {
							return answer(offset, length)
						}
						return exactly(ctx, data, offset, length)
					}
					fetched(t, src, 4, 100, blob)
					assert.NotZero(t, src.ranges)
				})
			}
		})
	}
}

// Law 8: the context ends ranges wherever they are, and nothing stays behind; so does
// closing the blob.
func TestRangesEnd(t *testing.T) {
	blob := random(20000)
	for i := range 200 {
		for _, cancelled := range []bool{true, false} { // The context, or Store fails.
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				src := newRangedServer(blob)
				var answers atomic.Int64
				src.answer = func(ctx context.Context, data []byte, offset, length int64) (io.Reader, error) {
					if cancelled && answers.Add(1) == int64(i) {
						cancel()
					}
					if answers.Load()%3 == 0 { // A line that hangs until it is hung up.
						<-time.After(100 * time.Millisecond)
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
				assert.Zero(t, src.open, "ranges that are open")
			})
		}
	}
}
