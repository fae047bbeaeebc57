package s3

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/output"
)

// A store that goes on with a completion that nobody waits for is looked at once more when it has ended.
func TestCompletedLate(t *testing.T) {
	s, data := newStore(t), content(1, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	var completion *http.Request
	s.Before(func(_ http.ResponseWriter, r *http.Request) bool {
		switch {
		case isCompletion(r):
			body, _ := io.ReadAll(r.Body)
			completion = r.Clone(context.WithoutCancel(r.Context()))
			completion.Body = io.NopCloser(bytes.NewReader(body))
			cancel()
			<-r.Context().Done()
			return true
		case r.Method == http.MethodDelete && isArchive(r):
			s.Before(nil)
			s.ServeHTTP(httptest.NewRecorder(), completion)
		}
		return false
	})
	require.NoError(t, write(ctx, data, output.Create))
	assert.True(t, bytes.Equal(data, s.Object("dir/x.tar")))
	assert.Empty(t, records(t))
}

// An upload that looks complete, because the same bytes were there before, is not left.
func TestSameBytes(t *testing.T) {
	s, data := newStore(t), content(1, 1000)
	require.NoError(t, write(t.Context(), data, output.Create))
	answering(s, isCompletion, func(w http.ResponseWriter, r *http.Request) {
		s.Before(nil)
		refuse(w, r, http.StatusInternalServerError, "InternalError", "We encountered an internal error.")
	})
	require.NoError(t, write(force(t.Context()), data, output.Create))
	assert.True(t, bytes.Equal(data, s.Object("dir/x.tar")))
	assert.Empty(t, s.Uploads())
}

// A completion is answered before it is made: the answer says how it ended.
func TestCompletionAnswers(t *testing.T) {
	t.Run("nothing", func(t *testing.T) {
		s, data := newStore(t), content(1, 1000)
		answering(s, isCompletion, func(w http.ResponseWriter, r *http.Request) {
			s.Before(nil)
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "<?xml version=\"1.0\"?>\n\n\n")
		})
		require.NoError(t, write(t.Context(), data, output.Create))
		assert.True(t, bytes.Equal(data, s.Object("dir/x.tar")))
	})
	t.Run("the condition does not hold", func(t *testing.T) {
		s := newStore(t)
		answering(s, isCompletion, func(w http.ResponseWriter, r *http.Request) {
			s.Put("dir/x.tar", []byte("other"))
			refuse(w, r, http.StatusOK, "PreconditionFailed", "the condition does not hold")
		})
		require.ErrorIs(t, write(t.Context(), content(1, 1000), output.Create), output.ErrNotEmpty)
		assert.Equal(t, "other", string(s.Object("dir/x.tar")))
		assert.Empty(t, s.Uploads())
	})
}

// A completion without conditions is made again only if the place is still as it was.
func TestUnconditionalAgain(t *testing.T) {
	s := newStore(t)
	s.Unconditional()
	answering(s, isCompletion, func(w http.ResponseWriter, r *http.Request) {
		s.Before(nil)
		s.Put("dir/x.tar", []byte("other"))
		refuse(w, r, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
	})
	ctx := output.WithRemote(t.Context(), func(o *output.RemoteOptions) { o.Unconditional = true })
	require.ErrorIs(t, write(ctx, content(1, 1000), output.Create), output.ErrNotEmpty)
	assert.Equal(t, "other", string(s.Object("dir/x.tar")))
	assert.Empty(t, s.Uploads())
}

// Where somebody else is writing, and nobody can say whether they have succeeded, nothing is said to be there.
func TestConflict(t *testing.T) {
	s := newStore(t)
	var completing atomic.Bool
	s.Before(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case isCompletion(r):
			completing.Store(true)
			refuse(w, r, http.StatusConflict, "ConditionalRequestConflict", "a conflicting operation")
		case completing.Load() && r.Method == http.MethodHead:
			w.WriteHeader(http.StatusForbidden)
		default:
			return false
		}
		return true
	})
	err := write(t.Context(), content(1, 1000), output.Create)
	require.ErrorContains(t, err, "another program is writing to it")
	require.NotErrorIs(t, err, output.ErrNotEmpty)
	assert.Empty(t, s.Uploads())
}
