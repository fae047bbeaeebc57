package fetching_test

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/retry"
)

// A source that breaks before the place where reading goes on, for it begins every answer at the
// start, ends the blob after as many attempts as there are, however much had come before.
func TestBreaksBeforeItsPlace(t *testing.T) {
	for name, c := range map[string]struct {
		breaks []int // after so many bytes of an answer; the last one always
		opens  []int64
		took   time.Duration // of the waits, without the jitter
	}{
		"always there": {[]int{4000}, []int64{0, 4000, 4000, 4000, 4000}, 7 * time.Second},
		"further on":   {[]int{4000, 3000, 7000}, []int64{0, 4000, 4000, 7000, 7000, 7000, 7000}, 8 * time.Second},
		"a byte more":  {[]int{4000, 4001, 4002, 4003, 4004}, []int64{0, 4000, 4001, 4002, 4003}, 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, opened := newSource(data), 0
				s.fail = func(offset int64) (int64, error) {
					n := c.breaks[min(opened, len(c.breaks)-1)]
					opened++
					return max(int64(n)-offset, 0), io.ErrUnexpectedEOF
				}
				o := new(store).options()
				o.RangeSize, o.Backoff = 1000, retry.Policy{Times: 3}.Backoff
				f := fetching.New(o)
				f.Need(f.AddImage(s, "", wrapped("x")), descriptor(data))
				start := time.Now()
				require.ErrorIs(t, run(t.Context(), f, f.Blobs()), io.ErrUnexpectedEOF)
				assert.Equal(t, c.opens, s.opens)
				assert.InDelta(t, c.took.Seconds(), time.Since(start).Seconds(), c.took.Seconds()*retry.Jitter)
			})
		})
	}
}
