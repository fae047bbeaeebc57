package s3

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/storetest"
)

// begin returns an upload of which nothing has been written.
func begin(t *testing.T, key string, o output.RemoteOptions) *upload {
	t.Helper()
	target, err := newTarget(t.Context(), path, output.RemoteOptions{})
	require.NoError(t, err)
	return newUpload(t.Context(), target.at(key), o)
}

// leave forgets an upload, as a process that is killed does.
func leave(t *testing.T, u *upload) {
	t.Helper()
	_, err := u.Write(content(1, firstPart))
	require.NoError(t, err)
	u.group.Wait()
	u.record.release()
	u.client.close()
}

func beginsUpload(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploads")
}

// An upload that begins while it is given up is given up too.
func TestAbortWhileBeginning(t *testing.T) {
	s := newStore(t)
	begun, answer := make(chan struct{}), make(chan struct{})
	answering(s, beginsUpload, func(w http.ResponseWriter, r *http.Request) {
		s.Before(nil)
		made := httptest.NewRecorder()
		s.ServeHTTP(made, r)
		close(begun)
		<-answer
		_, _ = w.Write(made.Body.Bytes())
	})
	u := begin(t, "dir/x.tar", output.RemoteOptions{})
	written, aborted := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := u.Write(content(1, 1000))
		written <- err
	}()
	<-begun
	go func() { aborted <- u.Abort() }()
	<-u.ctx.Done()
	close(answer)
	require.NoError(t, <-aborted)
	require.ErrorIs(t, <-written, errAborted)
	assert.Empty(t, s.Uploads())
	assert.Empty(t, s.Keys())
	assert.Empty(t, records(t))
}

// An archive whose key looks like that of a probe is none, whether it was being written or changed.
func TestArchiveNamedLikeProbe(t *testing.T) {
	for name, changes := range map[string]bool{"written": false, "changed": true} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			const other, probe = "dir/x.tar.probe-1", "dir/x.tar.probe-0123456789abcdef"
			for _, key := range []string{other, probe} {
				s.Put(key, []byte("an archive"))
				u := begin(t, key, output.RemoteOptions{Unconditional: true})
				u.copies = changes
				leave(t, u)
			}
			require.NoError(t, write(t.Context(), content(1, 1000), output.Create))
			assert.Equal(t, []string{"dir/x.tar", probe, other}, s.Keys())
			assert.NotEmpty(t, s.Uploads(), "nobody has asked for that")
		})
	}
}

// A change that was killed is not gone on with: the store has no checksums of its parts.
func TestChangeIsNotResumed(t *testing.T) {
	s := newStore(t)
	u := begin(t, "dir/x.tar", output.RemoteOptions{Unconditional: true})
	u.copies = true
	leave(t, u)
	var begun atomic.Int32
	s.Before(func(_ http.ResponseWriter, r *http.Request) bool {
		if beginsUpload(r) && isArchive(r) {
			begun.Add(1)
		}
		return false
	})
	require.NoError(t, write(t.Context(), content(1, 1000), output.CreatePartial))
	assert.Equal(t, int32(1), begun.Load())
	assert.Empty(t, s.Uploads())
	assert.Empty(t, records(t))
}

// A list whose next page is the same one ends.
func TestEndlessList(t *testing.T) {
	s := newStore(t)
	asked := 0
	answering(s, func(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Query().Has("uploads") }, func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked > 3 {
			storetest.Refuse(w, http.StatusForbidden, "AccessDenied", "Access Denied")
			return
		}
		_, _ = io.WriteString(w, "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated></ListMultipartUploadsResult>")
	})
	require.NoError(t, write(t.Context(), content(1, 1000), output.Create))
	assert.Equal(t, 1, asked)
}

// An upload that is to be aborted, and is not there, is told of.
func TestAbortUnknownUpload(t *testing.T) {
	logs := logrustest.NewGlobal()
	t.Cleanup(func() { logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{}) })
	newStore(t)
	ctx := output.WithRemote(t.Context(), func(o *output.RemoteOptions) { o.AbortUpload = "mistyped" })
	require.NoError(t, write(ctx, content(1, 1000), output.Create))
	require.NotNil(t, logs.LastEntry())
	assert.Contains(t, logs.LastEntry().Message, "no unfinished upload mistyped")
}
