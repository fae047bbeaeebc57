package fetching_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
)

// In these tests a line brings 200 kB a second, a hundredth of a slow one, and a range has
// as much less.
const (
	lineRate  = 200_000
	smallPart = 15_000
)

// helped is what became of a blob of 30 seconds, and one of 10 after it.
func helped(t *testing.T, jobs int, change func(*server)) (s *server, first, second time.Duration) {
	t.Helper()
	large, small := random(30*lineRate), random(10*lineRate)
	s = newServer(lineRate, large, small)
	s.late = 20 * time.Millisecond
	change(s)
	// One fetcher for both: what it learns of the first holds for the second.
	var st store
	o := retrying(st.options(), 3)
	o.Jobs, o.RangeSize = jobs, smallPart
	f := fetching.New(o)
	img := f.AddImage(s, "", wrapped("x"))
	for n, b := range [][]byte{large, small} {
		start := time.Now()
		body, err := f.Open(t.Context(), img, descriptor(b).Descriptor)
		if assert.NoError(t, err) {
			data, err := io.ReadAll(body)
			assert.NoError(t, err)
			assert.True(t, string(b) == string(data), "another blob")
			assert.NoError(t, body.Close())
		}
		if took := time.Since(start); n == 0 {
			first = took
		} else {
			second = took
		}
	}
	synctest.Wait()
	return s, first, second
}

// total is the bytes of both blobs.
const total = 40 * lineRate

// Over lines of a limited speed each, others help, and no byte comes twice.
func TestHelpWhereEachLineIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, first, second := helped(t, 6, func(*server) {})
		// Ranges are requested while the ranges before them arrive, so that no line waits for answers.
		assert.Less(t, first, 30*time.Second/6*5/4)
		assert.Less(t, second, 10*time.Second/6*3/2)
		assert.Equal(t, total, s.sent)
		assert.LessOrEqual(t, s.peak(), 6)
		assert.Equal(t, []int64{0, 0}, s.opens, "whole blobs at first")
	})
}

// Where the line is fast, or all have a blob of their own, there is one request a blob.
func TestNoHelpWithoutNeed(t *testing.T) {
	for name, c := range map[string]struct {
		jobs   int
		change func(*server)
	}{
		"fast":             {6, func(s *server) { s.rate *= 60 }},
		"no limit":         {6, func(s *server) { s.rate = 0 }},
		"one job":          {1, func(*server) {}},
		"a slow beginning": {6, func(s *server) { s.rate, s.slow = 60*s.rate, 600*time.Millisecond }},
		"late":             {6, func(s *server) { s.rate, s.late = 60*s.rate, 10*time.Second }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _, _ := helped(t, c.jobs, c.change)
				assert.Zero(t, s.ranges)
				assert.Equal(t, []int64{0, 0}, s.opens)
				assert.Equal(t, total, s.sent)
			})
		})
	}
}

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

// A server that gives no more over several lines is asked for one, soon, and for good.
func TestHelpThatBringsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, first, second := helped(t, 6, func(s *server) { s.rate, s.sum = 0, lineRate })
		assert.InDelta(t, 30, first.Seconds(), .5)
		assert.InDelta(t, 10, second.Seconds(), .2)
		assert.LessOrEqual(t, s.ranges, 40, "about two seconds of it")
		assert.Len(t, s.opens, 3, "each blob, and what was left of the first")
		assert.Equal(t, total, s.sent)
	})
}

// A server that reads its way to a range, as a cache does that fetches all of a blob for
// it, is asked for one, for a moment.
func TestHelpThatIsDear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, first, second := helped(t, 6, func(s *server) { s.reads = lineRate })
		assert.Less(t, first, 30100*time.Millisecond)
		assert.Less(t, second, 10100*time.Millisecond)
		assert.Equal(t, 1, s.ranges)
		assert.Equal(t, total, s.sent)
	})
}

// One that reads fast shows it later, when it has to go far.
func TestHelpThatGetsDear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := helped(t, 6, func(s *server) { s.reads = 7 * lineRate })
		far := int64(.29 * 7 * lineRate) // This takes just as long as is too long.
		assert.Len(t, s.opens, 3)
		assert.InDelta(t, far, s.opens[1], 12*smallPart)
		assert.Equal(t, total, s.sent)
	})
}

// A server without ranges is asked for one, and for no range of another blob.
func TestHelpThatIsRefused(t *testing.T) {
	for name, err := range map[string]error{
		"no ranges": fetching.ErrNoRanges, "failing for good": errors.New("not you"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, first, _ := helped(t, 6, func(s *server) {
					s.answer = func(context.Context, []byte, int64, int64) (io.Reader, error) { return nil, err }
				})
				assert.Less(t, first, 30100*time.Millisecond)
				assert.Equal(t, 1, s.ranges)
				assert.Equal(t, []int64{0, 0}, s.opens)
				assert.Equal(t, total, s.sent)
			})
		})
	}
}

// A server that fails for a reason that may pass is asked again, a few times.
func TestHelpThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, first, _ := helped(t, 6, func(s *server) {
			s.answer = func(context.Context, []byte, int64, int64) (io.Reader, error) { return nil, io.ErrUnexpectedEOF }
		})
		assert.Less(t, first, 30100*time.Millisecond)
		assert.Equal(t, 3, s.ranges)
		assert.Equal(t, []int64{0, 0}, s.opens)
	})
}

// A server that sends wrong ranges is found out by the digest. Its blob is then read
// whole, and it is asked for no more ranges.
func TestHelpThatLies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := [][]byte{random(30 * lineRate), random(10 * lineRate)}
		s := newServer(lineRate, blobs...)
		asked := map[int]bool{}
		s.answer = func(_ context.Context, data []byte, _, length int64) (io.Reader, error) {
			s.count(func() { asked[len(data)] = true })
			return exactly(t.Context(), data, 0, length)
		}
		// The second begins when the first has been read for the second time.
		fetchedInTurn(t, s, blobs...)
		assert.Equal(t, map[int]bool{30 * lineRate: true}, asked)
		assert.Equal(t, []int64{0, 0, 0}, s.opens)
	})
}

// A server that wants fewer requests gets fewer.
func TestHelpOfABusyServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blob := random(60 * lineRate)
		s := newServer(lineRate, blob)
		errBusy, refused := errors.New("too many requests"), 0
		s.answer = func(ctx context.Context, data []byte, offset, length int64) (io.Reader, error) {
			refuse := false
			s.count(func() {
				if refuse = s.open > 2; refuse {
					refused++
				}
			})
			if refuse {
				return nil, &busy{errBusy}
			}
			return exactly(ctx, data, offset, length)
		}
		var st store
		o := retrying(st.options(), 20)
		o.Jobs, o.RangeSize = 12, smallPart
		o.Busy = func(err error) bool { return errors.Is(err, errBusy) }
		f := fetching.New(o)
		f.Need(f.AddImage(s, "", wrapped("x")), descriptor(blob))
		assert.NoError(t, run(t.Context(), f, f.Blobs()))
		synctest.Wait()
		assert.NotZero(t, refused)
		assert.Less(t, refused, 60)
	})
}

type busy struct{ error }

func (b *busy) Unwrap() error             { return b.error }
func (b *busy) RetryAfter() time.Duration { return time.Second }

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
