package s3

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/storetest"
)

// The probe of a store that is busy is made again.
func TestProbeAgain(t *testing.T) {
	s, data := newStore(t), content(1, 1000)
	answering(s, func(r *http.Request) bool { return beginsUpload(r) && !isArchive(r) }, func(w http.ResponseWriter, _ *http.Request) {
		s.Before(nil)
		storetest.Refuse(w, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
	})
	require.NoError(t, write(t.Context(), data, output.Create))
	assert.Equal(t, []string{"dir/x.tar"}, s.Keys())
	assert.Empty(t, s.Uploads())
}

// A probe that fails ends the upload at once, not when all has been sent.
func TestProbeFails(t *testing.T) {
	s := newStore(t)
	s.Unconditional()
	u := begin(t, "dir/x.tar", output.RemoteOptions{})
	_, err := u.Write(content(1, 1000))
	require.NoError(t, err)
	failure := <-u.probed
	require.ErrorIs(t, failure, errUnconditional)
	u.probed <- failure
	_, err = u.Write(content(1, 1000))
	require.ErrorIs(t, err, errUnconditional)
	require.NoError(t, u.Abort())
}
