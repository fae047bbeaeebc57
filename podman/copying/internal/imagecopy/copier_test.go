package imagecopy

import (
	"context"
	"net/http/httptrace"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/stall"
	"github.com/dockerarchive/dockerarchive/progress"
)

// While a blob is written, to a pipe that nobody reads, time does not count. If the registry has begun to answer for the
// next blob, and stops there, copying ends soon after.
func TestMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waited := 0
		c := &copier{progress: func(e progress.Event) { waited++ }}
		start := time.Now()
		err := stall.Ask(t.Context(), c.waiting, func(ctx context.Context, w *stall.Watch) error {
			w.Patient()
			c.watch = w
			hooks := httptrace.ContextClientTrace(ctx)
			hooks.WroteRequest(httptrace.WroteRequestInfo{})
			hooks.GotFirstResponseByte()
			one, two := c.meanwhile(), c.meanwhile()
			time.Sleep(time.Hour)
			one()
			time.Sleep(time.Hour)
			require.NoError(t, ctx.Err())
			assert.Zero(t, waited)
			two()
			<-ctx.Done()
			return ctx.Err()
		})
		require.ErrorContains(t, err, " has sent nothing for 5m0s")
		assert.Equal(t, 2*time.Hour+5*time.Minute, time.Since(start))
		assert.Equal(t, 1, waited)
	})
}
