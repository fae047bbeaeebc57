package fetching_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/progress"
)

// In these tests a line brings 40 kB a second, a 500th of a slow one, and a range has as
// much less.
const (
	lineRate  = 40_000
	smallPart = 3_000
)

// While there are as many blobs as jobs, nobody helps; when the small ones are done, their
// workers help.
func TestHelpOfWhoIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := [][]byte{random(20 * lineRate), random(lineRate), random(lineRate + 1), random(lineRate + 2)}
		s := newServer(lineRate, blobs...)
		took := fetched(t, s, 4, smallPart, blobs...)
		assert.Less(t, took, 7*time.Second)
		assert.LessOrEqual(t, s.peak(), 4)
		assert.Len(t, s.opens, 4)
	})
}

// A server that wants fewer requests gets fewer.
func TestHelpOfABusyServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blob := random(60 * lineRate)
		s := newServer(lineRate, blob)
		refused := 0
		s.answer = func(ctx context.Context, data []byte, offset, length int64) (io.Reader, error) {
			refuse := false
			s.count(func() {
				if refuse = s.open > 2; refuse {
					refused++
				}
			})
			if refuse {
				return nil, &busy{errTooMany, time.Second}
			}
			return exactly(ctx, data, offset, length)
		}
		var st store
		o := retrying(st.options(), 20)
		o.Jobs, o.RangeSize = 12, smallPart
		o.Busy = func(err error) bool { return errors.Is(err, errTooMany) }
		f := fetching.New(o)
		f.Need(f.AddImage(s, "", wrapped("x")), descriptor(blob))
		assert.NoError(t, run(t.Context(), f, f.Blobs()))
		synctest.Wait()
		assert.NotZero(t, refused)
		assert.Less(t, refused, 60)
	})
}

var errTooMany = errors.New("too many requests")

type busy struct {
	error
	after time.Duration
}

func (b *busy) Unwrap() error             { return b.error }
func (b *busy) RetryAfter() time.Duration { return b.after }

// A moment in which nothing comes is no reason.
func TestHelpIsNotForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blob := random(28 * lineRate)
		s := newServer(20*lineRate, blob)
		s.sum = 20 * lineRate
		go func() {
			time.Sleep(600 * time.Millisecond)
			s.count(func() { s.free = s.free.Add(400 * time.Millisecond) })
		}()
		fetched(t, s, 6, smallPart, blob)
		assert.Zero(t, s.ranges)
	})
}

// Ranges that were wrong are blamed on the host that they came from, also if another one
// sent the rest of the blob.
func TestWrongRangesOfAnotherHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := [][]byte{random(30 * lineRate), random(20 * lineRate)}
		liar, honest := newServer(lineRate, blobs...), newServer(lineRate, blobs...)
		honest.host = "honest.example.com"
		hangs, broken := int64(-1), false
		liar.answer = func(ctx context.Context, data []byte, offset, length int64) (io.Reader, error) {
			hung := false
			liar.count(func() {
				if hangs < 0 && offset >= 12*lineRate && offset+length < int64(len(data)) {
					hangs, broken = offset, true // That ends help for this blob, but not for the host.
				}
				hung = offset == hangs
			})
			if hung {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
			return wrong(ctx, data, offset, length)
		}
		liar.fail = func(int64) (int64, error) {
			if broken {
				return -1, errLost
			}
			return 0, nil
		}
		o := retrying(new(store).options(), 3)
		o.Jobs, o.RangeSize = 6, smallPart
		f := fetching.New(o)
		one, two := f.AddImage(liar, "", wrapped("one")), f.AddImage(honest, "", wrapped("two"))
		for _, b := range blobs {
			f.Need(one, descriptor(b))
			f.Need(two, descriptor(b))
		}
		for _, b := range f.Blobs() {
			asked := liar.ranges
			require.NoError(t, run(t.Context(), f, []*fetching.Blob{b}))
			require.NoError(t, b.Await(t.Context()))
			synctest.Wait()
			assert.Equal(t, b == f.Blobs()[0], liar.ranges > asked, "asked for ranges")
			broken = false
		}
	})
}

// A cache that fetches a whole blob for any range, and a server that reads its way to it, are
// known after two blobs at the latest, unless they are so fast that they cannot be told from
// others.
func TestFastCaches(t *testing.T) {
	for name, c := range map[string]struct {
		sizes  []int // in seconds of a slow line
		fills  int
		reads  int
		extra  int  // that the origin sends more than once, likewise
		helped bool // the last one
	}{
		"each a little late":      {[]int{30, 29, 28}, 150, 0, 30 + 29, false},
		"late in a larger one":    {[]int{10, 60}, 150, 0, 10 + 60, false},
		"each later than others":  {[]int{10, 11, 12, 13}, 150, 0, 10 + 11, false},
		"a doubt only":            {[]int{10}, 150, 0, 10, true},
		"reads its way, a little": {[]int{8, 9, 10, 11}, 0, 50, 0, false},
		"reads its way, hardly":   {[]int{5, 6, 7, 8}, 0, 50, 0, false},
		"reads its way, far":      {[]int{5, 500}, 0, 50, 0, false},
		"reads its way, not seen": {[]int{5, 6, 7, 8}, 0, 500, 0, true},
		"too fast a cache":        {[]int{10, 11, 12, 13}, 600, 0, 10 + 11 + 12 + 13, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var blobs [][]byte
				sum := 0
				for _, size := range c.sizes {
					blobs = append(blobs, random(size*lineRate))
					sum += size
				}
				s := newServer(lineRate, blobs...)
				s.late, s.fills, s.reads, s.lazy = 20*time.Millisecond, c.fills*lineRate, c.reads*lineRate, true
				o := retrying(new(store).options(), 3)
				o.Jobs, o.RangeSize = 6, smallPart
				ranges := 0
				o.Progress = func(e progress.Event) {
					if e.Kind == progress.Started {
						ranges = s.ranges
					}
				}
				fetchedInTurn(t, s, o, blobs...)
				if c.fills > 0 {
					assert.LessOrEqual(t, s.origin, (sum+c.extra)*lineRate)
				}
				assert.Equal(t, c.helped, s.ranges > ranges+1, "the last one")
			})
		})
	}
}

// A range that comes late by chance is forgotten after some blobs. One that comes very late is
// doubtful even if others do not come soon.
func TestDoubts(t *testing.T) {
	for name, c := range map[string]struct {
		second       int           // doubtful blob
		last, others time.Duration // after which ranges of these come
		ends         bool
	}{
		"at once":            {1, 150, 20, true},
		"soon":               {7, 150, 20, true},
		"later":              {9, 150, 20, false},
		"others are as late": {1, 150, 120, false},
		"all are late":       {1, 180, 120, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			var blobs [][]byte
			for n := range c.second + 2 {
				blobs = append(blobs, random(5*lineRate+n))
			}
			s := newServer(lineRate, blobs...)
			s.late = 20 * time.Millisecond
			s.answer = func(ctx context.Context, data []byte, offset, length int64) (io.Reader, error) {
				if n := len(data) - 5*lineRate; n == 0 || n == c.second {
					after := c.others
					if offset+length == int64(len(data)) {
						after = c.last
					}
					time.Sleep(after*time.Millisecond - s.late)
				}
				return exactly(ctx, data, offset, length)
			}
			o := retrying(new(store).options(), 3)
			o.Jobs, o.RangeSize = 6, smallPart
			ranges := 0
			o.Progress = func(e progress.Event) {
				if e.Kind == progress.Started {
					ranges = s.ranges
				}
			}
			fetchedInTurn(t, s, o, blobs...)
			assert.Equal(t, c.ends, s.ranges == ranges, name)
		})
	}
}
